// A model and, if wanted, the run that trains it, in one safetensors file:
//   conv2d_1.weight, batch_norm_1.running_mean ...   weights and buffers by name, as other tools expect them
//   mask/conv2d_1.weight                             u8, 1 = lives
//   optimizer/velocity/conv2d_1.weight ...           moments and step counts
//   companion/rewind/conv2d_1.weight ...             what rides along keeps, a pruner say
// and as metadata the learning rate, the loss scale, the loader's position, the step, the precision and any notes
// (architecture, normalisation). Weights and moments are fp32 whatever the precision of the products.
// A run that is restored goes on bit for bit as if it had never stopped.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/data/loader.h"
#include "core/device/precision.h"
#include "core/train/companion.h"
#include "core/train/optimizer.h"
#include "core/train/parameter.h"
#include "core/train/safetensors.h"

namespace espalier {

using Notes = std::map<std::string, std::string>;  // free-form; the caller chooses keys and texts, save for this one:
constexpr const char* kArchitectureNote = "architecture";
constexpr const char* kOptimizerPrefix = "optimizer/";  // of the names of moments in a file
std::string note_key(const std::string& note);          // where a file's metadata has it

struct TrainingState {
  std::vector<Parameter*> parameters;
  std::vector<Buffer*> buffers;
  Optimizer* optimizer = nullptr;  // null: not saved; in restoring, left alone
  DataLoader* loader = nullptr;    // the same
  std::int64_t step = 0;           // updates made
  Notes notes = {};
  Precision precision = Precision::fp32;  // of the run; one with an optimizer can only be resumed in the same
  Companion* companion = nullptr;  // a run with an optimizer can only be resumed with one if it had one, or without
};

Safetensors content_of(const TrainingState& state);  // what save_checkpoint() writes

// Atomic: throws FileError and leaves what was there when the file cannot be written.
void save_checkpoint(const std::filesystem::path& file, const TrainingState& state);

// Puts everything back in place (step and notes too); from a compressed file (compressed_file.h) what that holds, a
// model. Nothing is changed unless all of it fits: throws CheckpointError with the names and sizes that differ.
void load_checkpoint(const std::filesystem::path& file, TrainingState& state);
void restore(const Safetensors& content, TrainingState& state);  // the same from a file already read
Notes notes_of(const Safetensors& content);
std::string companion_record(const Safetensors& content);  // of the run that it is of; empty where nothing rode along

}  // namespace espalier
