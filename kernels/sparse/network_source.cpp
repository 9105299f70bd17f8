#include "kernels/sparse/network_source.h"

#include <cmath>
#include <map>

#include "kernels/require.h"
#include "kernels/sparse/network_layout.h"
#include "kernels/sparse/network_prelude.h"
#include "kernels/sparse/source_text.h"

namespace espalier::kernels {
namespace {

using source_text::line;
using source_text::number;
constexpr index_t kMostInTask = 1024;  // products of one function: compilers take longer than in proportion
constexpr index_t kCudaRows = 64;      // sums that a thread keeps in registers
constexpr index_t kCudaSums = 32;      // of a convolution, beside its addresses

struct Use {
  index_t sum;
  float weight;
};

class Writer {
 public:
  Writer(std::span<const FusedProduct> products, SourceTarget target, int lanes, int registers)
      : products_(products),
        layout_(source_layout(products, target)),
        sums_(target == SourceTarget::cuda ? kCudaSums : registers * 3 / 4) {
    source_.target = target;
    source_.text = target == SourceTarget::cuda ? cuda_prelude() : host_prelude(lanes);
  }

  NetworkSource write() {
    const auto needed = needed_filters(products_);
    for (std::size_t i = 0; i < products_.size(); ++i) write_layer(i, needed[i]);
    describe();
    source_.text +=
        cuda() ? cuda_kernel(source_, layout_.maps.front(), layout_.maps.back(), body_) : host_function(body_);
    return std::move(source_);
  }

 private:
  bool cuda() const { return source_.target == SourceTarget::cuda; }

  // The text of where a map begins for this lane.
  std::string base(const SourceMap& map, index_t offset = 0) const {
    const std::string at = std::to_string(map.begin + offset * map.stride);
    if (!cuda()) return "memory + " + at;
    return map.arena() + (" + " + at) + " + lane";
  }

  void write_layer(std::size_t index, const std::vector<index_t>& needed) {
    const FusedProduct& product = products_[index];
    const SourceMap& out = layout_.maps[index + 1];
    if (out.padding > 0) {
      const std::string at = std::to_string(out.begin), size = std::to_string(out.size());
      body_ += line("  clear(", cuda() ? out.arena() : "memory", " + ", at, ", ", size, ");",
                    cuda() ? " __syncthreads();" : "");
    }
    const bool loops = product.out_height() * product.out_width() > 1;
    const index_t tile = tile_of(product), in_registers = loops || !cuda() ? sums_ : kCudaRows;
    const index_t most = std::min(std::max<index_t>(1, in_registers / tile), rows_within(product, needed, tile));
    const auto groups = deal_filters(product, needed, most, loops || !cuda() ? 1 : NetworkSource::kWarps);
    for (std::size_t task = 0; task < groups.size(); ++task) write_task(index, task, groups[task], loops);
    body_ += loops || !cuda() ? calls_in_turn(index, groups.size()) : calls_by_warp(index, groups.size());
    if (cuda()) body_ += "  __syncthreads();\n";
  }

  // Outputs of a filter that are summed together: those of a pool, or two neighbours of an even row.
  static index_t tile_of(const FusedProduct& product) {
    return product.pool ? 4 : product.out_width() % 2 == 0 ? 2 : 1;
  }

  // So many filters of average length stay below kMostInTask.
  static index_t rows_within(const FusedProduct& product, const std::vector<index_t>& needed, index_t tile) {
    index_t nonzeros = 0;
    for (const index_t filter : needed) {
      nonzeros += product.row_offsets[std::size_t(filter) + 1] - product.row_offsets[std::size_t(filter)];
    }
    if (nonzeros == 0) return index_t(needed.size()) + 1;
    return std::max<index_t>(1, kMostInTask * index_t(needed.size()) / (nonzeros * tile));
  }

  static std::string task_name(std::size_t layer, std::size_t task) {
    return "layer_" + std::to_string(layer) + "_" + std::to_string(task);
  }

  static std::string calls_in_turn(std::size_t layer, std::size_t tasks) {
    std::string text;
    for (std::size_t task = 0; task < tasks; ++task) text += "  " + task_name(layer, task) + "(HERE);\n";
    return text;
  }

  // Each warp has functions of its own.
  static std::string calls_by_warp(std::size_t layer, std::size_t tasks) {
    std::string text = "  switch (warp) {\n";
    for (std::size_t warp = 0; warp < std::min<std::size_t>(tasks, NetworkSource::kWarps); ++warp) {
      text += "    case " + std::to_string(warp) + ":";
      for (std::size_t task = warp; task < tasks; task += NetworkSource::kWarps) {
        text += " " + task_name(layer, task) + "(HERE);";
      }
      text += " break;\n";
    }
    return text + "  }\n";
  }

  // By place of the input: which sums it goes into, with which weight.
  std::map<index_t, std::vector<Use>> uses_of(const FusedProduct& product, const SourceMap& in,
                                              const std::vector<index_t>& filters) {
    const index_t tile = tile_of(product), stride = product.shape.stride;
    std::map<index_t, std::vector<Use>> uses;
    for (std::size_t f = 0; f < filters.size(); ++f) {
      for (index_t k = product.row_offsets[std::size_t(filters[f])];
           k < product.row_offsets[std::size_t(filters[f]) + 1]; ++k) {
        const float weight = product.values[std::size_t(k)];
        require(std::isfinite(weight), "a weight is not finite");
        const index_t feature = feature_of(product, in, filters[f], product.column_indices[std::size_t(k)]);
        for (index_t t = 0; t < tile; ++t) {
          const index_t across = t % 2, down = t / 2;
          uses[(feature + stride * (down * in.row() + across)) * in.stride].push_back({index_t(f) * tile + t, weight});
        }
        ++source_.nonzeros;
      }
    }
    return uses;
  }

  void write_task(std::size_t layer, std::size_t task, const std::vector<index_t>& filters, bool loops) {
    const FusedProduct& product = products_[layer];
    const SourceMap &in = layout_.maps[layer], &out = layout_.maps[layer + 1];
    const index_t tile = tile_of(product), across = tile > 1 ? 2 : 1, down = tile > 2 ? 2 : 1;
    const index_t tiles_x = product.pool ? out.width : out.width / across;
    const index_t tiles = tiles_x * out.height;
    std::string& text = source_.text;
    text += line("TASK ", task_name(layer, task), "(PLACE) {");
    text += line("  const V* RESTRICT in = ", base(in), ";");
    text += line("  V* RESTRICT out = ", base(out, out.origin()), ";");
    if (loops) {
      const index_t step = product.shape.stride * in.stride, each = product.pool ? 1 : across;
      text += line("  for (int p = FIRST; p < ", tiles, "; p += STEP) {");
      text += line("  [[maybe_unused]] const V* RESTRICT x = in + p / ", tiles_x, " * ", step * down * in.row(),
                   " + p % ", tiles_x, " * ", step * across, ";");
      text += line("  V* RESTRICT y = out + p / ", tiles_x, " * ", out.row() * out.stride, " + p % ", tiles_x, " * ",
                   each * out.stride, ";");
    } else {
      text += "  [[maybe_unused]] const V* RESTRICT x = in; V* RESTRICT y = out;\n";
    }
    write_sums(product, in, filters, tile, loops ? tiles : 1);
    for (std::size_t f = 0; f < filters.size(); ++f) write_result(product, out, filters[f], index_t(f) * tile, tile);
    text += loops ? "  }\n}\n" : "}\n";
  }

  void write_sums(const FusedProduct& product, const SourceMap& in, const std::vector<index_t>& filters, index_t tile,
                  index_t times) {
    std::string& text = source_.text;
    for (std::size_t f = 0; f < filters.size(); ++f) {
      const float bias = product.bias.empty() ? 0.0f : product.bias[std::size_t(filters[f])];
      require(std::isfinite(bias), "a bias is not finite");
      for (index_t t = 0; t < tile; ++t) text += line("  V a", index_t(f) * tile + t, " = C(", number(bias), ");");
    }
    for (const auto& [place, uses] : uses_of(product, in, filters)) {
      text += "  { const V v = x[" + std::to_string(place) + "];";
      for (const Use& use : uses) text += " ADD(a" + std::to_string(use.sum) + ", " + number(use.weight) + ", v);";
      text += " }\n";
      source_.loads += times, source_.products += times * index_t(uses.size()), written_ += index_t(uses.size());
    }
    require(source_.nonzeros <= NetworkSource::most_nonzeros(source_.target), "more than ",
            NetworkSource::most_nonzeros(source_.target), " nonzeros are left: too long to compile");
    require(written_ <= NetworkSource::kMostProducts, "more than ", NetworkSource::kMostProducts,
            " multiply-adds would be written out: too long to compile");
  }

  void write_result(const FusedProduct& product, const SourceMap& out, index_t filter, index_t sum, index_t tile) {
    const auto activated = [&](const std::string& value) {
      const std::string of = activation_name(product.activation);
      if (of.empty()) return value;
      return of + "(" + value + (product.activation == Activation::leaky_relu ? ", " + number(product.slope) : "") +
             (cuda() ? ")" : ", activate)");
    };
    const auto name = [&](index_t t) { return "a" + std::to_string(sum + t); };
    const index_t at = filter * out.plane() * out.stride;
    if (product.pool) {
      const std::string largest =
          "larger(larger(" + name(0) + ", " + name(1) + "), larger(" + name(2) + ", " + name(3) + "))";
      source_.text += line("  y[", at, "] = ", activated(largest), ";");
      return;
    }
    for (index_t t = 0; t < tile; ++t) {
      source_.text += line("  y[", at + t * out.stride, "] = ", activated(name(t)), ";");
    }
  }

  void describe() {
    const SourceMap &first = layout_.maps.front(), &last = layout_.maps.back();
    source_.inputs = first.channels * first.height * first.width, source_.outputs = last.features();
    source_.memory = layout_.scratch;
    const index_t turned =
        first.shared ? 0 : NetworkSource::kWarps * NetworkSource::kImages * (NetworkSource::kImages + 1);
    if (cuda()) source_.shared_bytes = index_t(sizeof(float)) * std::max(layout_.shared, turned);
    source_.channels = first.channels, source_.height = first.height, source_.width = first.width;
    source_.plane = first.plane(), source_.row = first.row(), source_.origin = first.origin();
    source_.first = first.begin, source_.first_size = first.size(), source_.padding = first.padding;
    source_.result = last.begin;
  }

  std::span<const FusedProduct> products_;
  SourceLayout layout_;
  index_t sums_;
  index_t written_ = 0;
  NetworkSource source_;
  std::string body_;
};

}  // namespace

NetworkSource network_source(std::span<const FusedProduct> products, SourceTarget target, int lanes, int registers) {
  require(!products.empty(), "compiled network: there is no product");
  return Writer(products, target, lanes, registers).write();
}

}  // namespace espalier::kernels
