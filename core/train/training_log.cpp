#include "core/train/training_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/train/atomic_file.h"

namespace espalier {
namespace {

constexpr int kBarWidth = 24;

std::string line_of(const TrainingMoment& moment) {
  return fmt::format("epoch {}/{}  loss {:.4f}  accuracy {:.2f} %  {:.0f} images/s", moment.epoch, moment.epochs,
                     moment.loss, 100 * moment.accuracy, moment.images_per_second);
}

}  // namespace

LineFile::LineFile(const std::filesystem::path& file) : file_(file) {
  if (file.empty()) return;
  descriptor_ = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw FileError(fmt::format("{}: cannot be opened ({})", file.string(), std::strerror(errno)));
}

LineFile::~LineFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void LineFile::append(const std::string& line) {
  if (descriptor_ < 0) return;
  const std::string text = line + "\n";
  if (::write(descriptor_, text.data(), text.size()) != ssize_t(text.size())) {
    throw FileError(fmt::format("{}: cannot be appended to ({})", file_.string(), std::strerror(errno)));
  }
}

TrainingLog::TrainingLog(const std::filesystem::path& metrics_file, bool visible)
    : file_(metrics_file), visible_(visible), terminal_(isatty(STDERR_FILENO) != 0) {}

void TrainingLog::report(const TrainingMoment& moment) {
  write("step", moment);
  if (!visible_ || !terminal_) return;
  const int filled = int(kBarWidth * moment.batch / moment.batches);
  fmt::print(stderr, "\r{}  [{:=<{}}{: <{}}]\033[K", line_of(moment), "", filled, "", kBarWidth - filled);
  std::fflush(stderr);
}

void TrainingLog::epoch_done(const TrainingMoment& moment) {
  write("epoch", moment);
  if (visible_)
    fmt::print(stderr, "{}{}  {:.1f} s{}\n", terminal_ ? "\r" : "", line_of(moment), moment.seconds,
               terminal_ ? "\033[K" : "");
}

void TrainingLog::write(const char* event, const TrainingMoment& moment) {
  file_.append(fmt::format(R"({{"event":"{}","epoch":{},"step":{},"loss":{},"accuracy":{},"learning_rate":{},)"
                           R"("images_per_second":{:.1f},"seconds":{:.3f}}})",
                           event, moment.epoch, moment.step, moment.loss, moment.accuracy, moment.learning_rate,
                           moment.images_per_second, moment.seconds));
}

}  // namespace espalier
