// Every way of computing a pruned product beside the dense ones and the vendor's sparse one, over the layers, batches
// and sparsities that decide whether sparsity pays: what compile() chooses from. Masks are random in the pattern that a
// format wants (anywhere, whole blocks, 2 of 4), or those of a really pruned checkpoint.
// Of dense layers also the gradient of the kept weights, which no model knows the times of.
//   benchmark_sparse [checkpoint] [--layer WORDS] [--batch ...] [--sparsity ...] [--gpu a100] [--json FILE]
// Medians; each time is labelled with its device, since a figure of the CPU emulation says nothing about a GPU.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/benchmarks/sampled.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/table.h"
#include "core/autograd/trace.h"
#include "core/device/device_info.h"
#include "core/tensor/initialise.h"
#include "core/train/atomic_file.h"
#include "kernels/require.h"
#include "kernels/vendor/sparse.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/model_file.h"
#include "pruning/criterion.h"
#include "pruning/fitting_formats.h"
#include "pruning/pattern.h"
#include "pruning/product_work.h"
#include "pruning/selection.h"
#include "pruning/structured_pattern.h"

namespace espalier {
namespace {

using namespace pruning;

struct Layer {
  std::string name;
  Shape input, weight;  // input of one image
  std::int64_t padding = 0;
};

const std::vector<Layer>& layers() {
  static const std::vector<Layer> all{
      {"lenet-300-100 dense_1", {784}, {300, 784}}, {"lenet-5 conv2d_2", {20, 12, 12}, {50, 20, 5, 5}},
      {"lenet-5 dense_1", {800}, {500, 800}},       {"1024 x 1024", {1024}, {1024, 1024}},
      {"4096 x 4096", {4096}, {4096, 4096}},        {"256 -> 256, 3x3, 14 x 14", {256, 14, 14}, {256, 256, 3, 3}, 1}};
  return all;
}

struct Options {
  std::string checkpoint, layer, gpu;
  std::vector<std::int64_t> batches{1, 64, 256, 4096};
  std::vector<double> sparsities{0.5, 0.7, 0.8, 0.9, 0.95, 0.98};
  std::string json;
  Precision precision = Precision::fp32;
  bool large = false;
};

constexpr double kLargeMacs = 2e9;  // beyond, the emulation takes seconds for one dense product

// What a random mask obeys, in the words of `prune --pattern`, and the format that it is made for.
struct MaskKind {
  std::string words;
  Pattern pattern;
  std::optional<Candidate> format = std::nullopt;     // beside dense and csr
  std::optional<double> own_sparsity = std::nullopt;  // else as asked for
};

// In tf32 sparse tensor cores take 1 of 2 where they take 2 of 4 of 16-bit weights.
std::vector<MaskKind> mask_kinds(Precision precision) {
  const int n = precision == Precision::tf32 ? 1 : 2, m = 2 * n;
  const std::string pairs = fmt::format("{}:{}", n, m);
  constexpr auto kRagged = RaggedRows::shorter_run;
  return {{"random", unstructured()},
          {"vector-16", vector(16), vector_nm(16)},
          {"block-8", block(8, 8), block_csr(8, 8)},
          {"block-32", block(32, 32), block_csr(32, 32)},
          {"block-16x16-channels", block_channels(16, 16), block_csr(16, 16)},
          {"block-32x32-channels", block_channels(32, 32), block_csr(32, 32)},
          {pairs, n_of_m(n, m, kRagged), two_four(), 0.5},
          {pairs + "-channels", n_of_m_channels(n, m, kRagged), two_four(), 0.5},
          {"vector-16-2:16", vector_n_of_m(16, 2, 16), vector_nm(16), 0.875},
          {fmt::format("128:{}:8", n), v_n_m(128, n, 8), vnm(128, 8), 1 - n / 8.0},
          {fmt::format("128:{}:16", n), v_n_m(128, n, 16), vnm(128, 16), 1 - n / 16.0}};
}

Tensor pruned(const Shape& shape, const Pattern& pattern, double sparsity) {
  Parameter parameter("weight", kaiming_uniform(shape, 1));
  const Tensor scores[] = {random(2)(parameter)};
  parameter.set_mask(pattern(scores, {.sparsity = sparsity}).front());
  return parameter.value.value();
}

RecordedCall call_of(const Layer& layer, const Tensor& weight, std::int64_t batch) {
  std::vector<std::int64_t> input{batch};
  input.insert(input.end(), layer.input.extents().begin(), layer.input.extents().end());
  std::shared_ptr<ProductFunction> function = std::make_shared<DenseFunction>();
  if (weight.shape().rank() == 4) {
    const auto convolution = std::make_shared<Conv2dFunction>();
    convolution->padding = layer.padding;
    function = convolution;
  }
  function->label = layer.name;
  function->activation = kernels::Activation::relu;
  return {function, {kaiming_uniform(Shape(input), 3), weight, Tensor::zeros({weight.shape()[0]})}};
}

// The products of a pruned model at this batch, as its plan would meet them.
std::vector<RecordedCall> calls_of(Module& model, const Shape& input) {
  model.set_training(false);
  const Trace traced = trace([&](const Variable& x) { return model(x); }, kaiming_uniform(input, 3));
  std::vector<RecordedCall> calls;
  for (const Trace::Step& step : traced.steps) {
    if (!is_product(*step.function)) continue;
    RecordedCall call{step.function, {}};
    for (const int value : step.inputs) call.inputs.push_back(traced.values[std::size_t(value)].tensor);
    calls.push_back(std::move(call));
  }
  return calls;
}

struct Row {
  std::string layer, mask;
  double sparsity = 0;
  std::int64_t batch = 0;
  MeasuredImplementation one;
  std::optional<double> of_dense, of_vendor_sparse;  // their times over its own
};

std::optional<double> over(const std::optional<double>& other, const MeasuredImplementation& one) {
  return other && one.us ? std::optional(*other / *one.us) : std::nullopt;
}

class Benchmark {
 public:
  explicit Benchmark(const Options& options) : options_(options) {
    if (!options.gpu.empty()) compile_.gpu = &gpu_model(options.gpu);
    require(compile_.gpu == nullptr || has_products(*compile_.gpu, options.precision), "--gpu ", options.gpu,
            " has no products in ", std::string(to_string(options.precision)), "; take fp16 or fp32");
    compile_.floor_us = launch_floor_us(compile_);
    timing_ = compile_.gpu ? fmt::format("{}, modelled", compile_.gpu->name) : device_info().name;
  }

  void run() {
    options_.checkpoint.empty() ? synthetic() : own_masks();
    if (!rows_.empty()) return;
    throw InvalidArgument(fmt::format("no layer that was timed has \"{}\" in its name{}; there are {}", options_.layer,
                                      options_.large ? "" : " (the largest are timed with --large only)",
                                      fmt::join(names_, ", ")));
  }

  std::string table() const {
    apps::Table table({"layer", "mask", "sparsity", "batch", "format", "by", "µs", "quartiles", "x dense",
                       "x " + std::string(kernels::vendor::sparse_name()), "limit µs", "bytes"},
                      {1, 4, 5});
    const auto times = [](const std::optional<double>& ratio) { return ratio ? fmt::format("{:.2f}x", *ratio) : "-"; };
    const auto us = [](const std::optional<double>& time) { return time ? fmt::format("{:.1f}", *time) : "-"; };
    for (const Row& row : rows_) {
      const Timing& timing = row.one.timing;
      table.add(
          {row.layer, row.mask, fmt::format("{:.1f} %", 100 * row.sparsity), std::to_string(row.batch), row.one.format,
           row.one.library, us(row.one.us),
           timing.repeats ? fmt::format("{:.1f} - {:.1f}", timing.lower_quartile_us, timing.upper_quartile_us) : "-",
           times(row.of_dense), times(row.of_vendor_sparse), us(row.one.limit_us), std::to_string(row.one.bytes)});
    }
    return fmt::format("{}times: {}\n", table.to_string(), timing_);
  }

  nlohmann::json json() const {
    const auto or_null = [](const std::optional<double>& x) { return x ? nlohmann::json(*x) : nlohmann::json(); };
    nlohmann::json list = nlohmann::json::array();
    for (const Row& row : rows_) {
      list.push_back({{"layer", row.layer},
                      {"mask", row.mask},
                      {"sparsity", row.sparsity},
                      {"batch", row.batch},
                      {"format", row.one.format},
                      {"implementation", row.one.library},
                      {"precision", to_string(options_.precision)},
                      {"median_us", or_null(row.one.us)},
                      {"lower_quartile_us", row.one.timing.lower_quartile_us},
                      {"upper_quartile_us", row.one.timing.upper_quartile_us},
                      {"speedup_dense", or_null(row.of_dense)},
                      {"speedup_vendor_sparse", or_null(row.of_vendor_sparse)},
                      {"limit_us", or_null(row.one.limit_us)},
                      {"bytes", row.one.bytes},
                      {"launches", row.one.launches},
                      {"timing", timing_}});
    }
    return list;
  }

 private:
  void synthetic() {
    for (const Layer& layer : layers()) {
      names_.insert(layer.name);
      if (layer.name.find(options_.layer) == std::string::npos) continue;
      for (const MaskKind& kind : mask_kinds(options_.precision)) {
        compile_.candidates = {dense(), csr(), compiled_conv2d()};
        if (kind.format) compile_.candidates.push_back(*kind.format);
        for (const double sparsity : sparsities_of(kind)) {
          const Tensor weight = pruned(layer.weight, kind.pattern, sparsity);
          for (const std::int64_t batch : options_.batches) compare(call_of(layer, weight, batch), kind.words, batch);
        }
      }
    }
  }

  // Those asked for; a pattern's own if it lies among them.
  std::vector<double> sparsities_of(const MaskKind& kind) const {
    if (!kind.own_sparsity) return options_.sparsities;
    const auto [least, most] = std::ranges::minmax(options_.sparsities);
    if (*kind.own_sparsity < least || *kind.own_sparsity > most) return {};
    return {*kind.own_sparsity};
  }

  void own_masks() {
    SavedModel saved = load_model(options_.checkpoint);
    compile_.candidates = fitting_formats(*saved.module);
    compile_.candidates.push_back(compiled_conv2d());
    const auto padding = saved.notes.find("padding");
    const std::int64_t side = 28 + 2 * (padding == saved.notes.end() ? 0 : std::stoll(padding->second));
    for (const std::int64_t batch : options_.batches) {
      for (const RecordedCall& call : calls_of(*saved.module, {batch, 1, side, side})) {
        compare(call, "checkpoint", batch);
      }
    }
  }

  void compare(const RecordedCall& call, const std::string& mask, std::int64_t batch) {
    const std::string& name = dynamic_cast<const ProductFunction&>(*call.function).label;
    names_.insert(name);
    if (name.find(options_.layer) == std::string::npos) return;
    const double macs = double(product_size(call).macs());
    if (simt::kEmulated && !options_.large && macs > kLargeMacs) return;
    const PlanStep step = choose(call, compile_).step;
    Row row{step.layer, mask, step.sparsity, batch, {}, {}, {}};
    add(row, step.candidates, "dense", "csr");
    const Tensor& weight = call.inputs[1];
    const bool measured = compile_.gpu == nullptr && options_.precision == Precision::fp32;
    if (!measured || weight.shape().rank() != 2 || step.sparsity == 1.0) return;
    add(row, benchmarks::sampled_gradients(weight, batch), "dense, dw", "csr, dw");
  }

  // A row for each that has a time, beside the fastest dense one and the vendor's sparse one.
  void add(Row row, const std::vector<MeasuredImplementation>& candidates, std::string_view dense_format,
           std::string_view sparse_format) {
    std::optional<double> dense, vendor_sparse;
    for (const MeasuredImplementation& one : candidates) {
      if (!one.us) continue;
      if (one.format == dense_format && (!dense || *one.us < *dense)) dense = one.us;
      if (one.format == sparse_format && one.library == kernels::vendor::sparse_name()) vendor_sparse = one.us;
    }
    for (const MeasuredImplementation& one : candidates) {
      if (!one.us) continue;
      row.one = one, row.of_dense = over(dense, one), row.of_vendor_sparse = over(vendor_sparse, one);
      rows_.push_back(row);
    }
  }

  const Options& options_;
  CompileOptions compile_;
  std::string timing_;
  std::vector<Row> rows_;
  std::set<std::string> names_;  // of all layers, timed or not
};

int run(int count, char** arguments) {
  Options options;
  CLI::App app("Pruned products in every format beside the dense ones", "benchmark_sparse");
  app.add_option("checkpoint", options.checkpoint, "Take the masks of this pruned model instead of random ones");
  app.add_option("--layer", options.layer, "Only layers with these words in their name");
  app.add_option("--batch", options.batches, "Images at a time")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--sparsity", options.sparsities, "Of random masks")->check(CLI::Range(0.0, 0.9999));
  apps::add_precision_option(app, options.precision);
  app.add_option("--gpu", options.gpu, "Model the times of this GPU (a100, h100, 4090, t4) instead of measuring");
  app.add_option("--json", options.json, "Write every figure to this file");
  app.add_flag("--large", options.large, "Also what takes the emulation seconds");
  CLI11_PARSE(app, count, arguments);
  try {
    require_writable(options.json);
    const PrecisionScope precision(options.precision);
    Benchmark benchmark(options);
    benchmark.run();
    fmt::print("{}", benchmark.table());
    if (!options.json.empty()) write_file_atomically(options.json, benchmark.json().dump(2) + "\n");
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "benchmark_sparse: {}\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) { return espalier::run(argc, argv); }
