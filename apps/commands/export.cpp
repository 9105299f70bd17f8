// espalier export: a model as the smallest file that still runs: kept values only, at will quantised and Huffman-coded.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/output.h"
#include "apps/commands/stored_size.h"
#include "core/train/compressed_file.h"
#include "kernels/require.h"
#include "layers/model_file.h"

namespace espalier::apps {
namespace {

struct ExportCommand {
  Output output;
  std::filesystem::path checkpoint, file;
  std::string format = "espalier", quantise;
  bool huffman = false;

  void run() const;
};

// "", "int8", "kmeans" or "kmeans:BITS".
Compression compression_from(const std::string& quantise, bool huffman) {
  Compression compression{.huffman = huffman};
  const std::string_view kmeans = "kmeans", text = quantise;
  if (text == "int8") {
    compression.values = ValueCoding::int8;
  } else if (text.starts_with(kmeans)) {
    compression.values = ValueCoding::kmeans;
    const std::string_view bits = text.substr(std::min(text.size(), kmeans.size() + 1));
    const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), compression.bits);
    const bool whole = error == std::errc() && end == bits.data() + bits.size() && text[kmeans.size()] == ':';
    require(text == kmeans || (whole && compression.bits >= 1 && compression.bits <= Compression::kMostBits),
            "--quantise ", quantise, ": kmeans may be followed by a colon and 1 to ", Compression::kMostBits,
            " bits, as in kmeans:", Compression().bits);
  } else {
    require(text.empty(), "--quantise ", quantise, ": there are int8, kmeans and kmeans:BITS");
  }
  return compression;
}

void ExportCommand::run() const {
  const Compression compression = compression_from(quantise, huffman);
  const SavedModel model = load_model(checkpoint);
  const TrainingState state{.parameters = model.module->parameters(),
                            .buffers = model.module->buffers(),
                            .step = model.step,
                            .notes = model.notes};
  write_compressed(file, content_of(state), compression);
  const StoredSize size(file);
  say(output, fmt::format("{}\n{}: {} bytes, {:.1f} times smaller than the dense weights\n", size.to_string(),
                          file.string(), size.file_bytes, double(size.dense_bytes) / double(size.file_bytes)));
  nlohmann::json result = size.to_json();
  result["file"] = file.string();
  print_result(output, result);
}

}  // namespace

Command export_command(CLI::App& app) {
  const auto command = std::make_shared<ExportCommand>();
  CLI::App* parser = app.add_subcommand("export", "Write a model as kept values only; such a file runs as it is");
  parser->add_option("checkpoint", command->checkpoint, "The model")->required();
  parser->add_option("--format", command->format, "Of the file")
      ->check(CLI::IsMember({"espalier"}))
      ->capture_default_str();
  parser->add_option("--output", command->file, "The file to write")->required();
  parser->add_option("--quantise", command->quantise,
                     "Weights as int8, or as shared values: kmeans, or kmeans:BITS of 1 to 8 (default: exact fp32)");
  parser->add_flag("--huffman", command->huffman, "Huffman-code the quantised values and the positions");
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
