// What a training run tells while it goes on: a bar on a terminal or lines elsewhere, and metrics.jsonl for machines.
#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "core/train/metrics.h"

namespace espalier {

// One JSON object per line, each line in one write to a file opened for appending: a reader never meets half a line of
// a run that goes on, and a killed run keeps all its lines.
class LineFile {
 public:
  explicit LineFile(const std::filesystem::path& file);  // empty: writes nothing. Throws FileError
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  void append(const std::string& line);

 private:
  std::filesystem::path file_;
  int descriptor_ = -1;
};

struct TrainingMoment {
  std::int64_t epoch = 0, epochs = 0;   // the running one (from 1), and how many there shall be
  std::int64_t batch = 0, batches = 0;  // done in this epoch
  std::int64_t step = 0;
  double loss = 0, accuracy = 0;  // since the last report, or of the whole epoch
  float learning_rate = 0;
  double images_per_second = 0, seconds = 0;
};

class TrainingLog {
 public:
  TrainingLog(const std::filesystem::path& metrics_file, bool visible);
  void report(const TrainingMoment& moment);
  void epoch_done(const TrainingMoment& moment);

 private:
  void write(const char* event, const TrainingMoment& moment);
  LineFile file_;
  bool visible_, terminal_;
};

}  // namespace espalier
