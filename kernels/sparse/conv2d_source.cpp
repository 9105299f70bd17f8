#include "kernels/sparse/conv2d_source.h"

#include <climits>
#include <cmath>
#include <map>
#include <vector>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/network_layout.h"
#include "kernels/sparse/network_prelude.h"
#include "kernels/sparse/source_text.h"

namespace espalier::kernels {
namespace {

using source_text::line;
using source_text::number;

constexpr const char* kCudaShared = "extern __shared__ float4 espalier_shared[];\n";
constexpr const char* kEmulation = "#include \"kernels/simt/simt.h\"\n";

// What is multiplied with a weight, from a thread's first input: a float of a plane of a channel.
struct Place {
  index_t phase, row, column;
  auto operator<=>(const Place&) const = default;
};

struct Use {
  index_t sum;
  float weight;
};

class Conv2dWriter {
 public:
  Conv2dWriter(const FusedProduct& product, const Conv2dSourceLayout& layout, SourceTarget target)
      : product_(product), shape_(product.shape), layout_(layout), host_(target == SourceTarget::host) {
    source_.shape = shape_, source_.layout = layout_;
    std::vector<index_t> filters;
    for (index_t filter = 0; filter < shape_.filters; ++filter) filters.push_back(filter);
    parts_ = deal_filters(product, filters, layout_.filters, layout_.groups);
  }

  Conv2dSource write() {
    text() = host_ ? kEmulation : kCudaShared;
    text() += scalar_words();
    write_tables();
    // Without the number of blocks ptxas takes more registers.
    text() += "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(layout_.threads) + ", " +
              std::to_string(layout_.blocks_together()) + ") " + Conv2dSource::kName +
              "(long long batch, const float* __restrict__ x, float* __restrict__ y) {\n";
    write_begin();
    text() += line("  for (int go = 0; go < ", goes(), "; ++go) {");
    write_slab();
    text() += line("    switch (part * ", goes(), " + go) {");
    for (std::size_t part = 0; part < parts_.size(); ++part) write_part(part);
    text() += "      default: break;\n    }\n  }\n";
    write_results();
    text() += "}\n";
    return std::move(source_);
  }

 private:
  std::string& text() { return source_.text; }
  index_t goes() const { return ceil_div(shape_.channels, layout_.channels); }
  index_t step() const { return product_.pool ? 2 : 1; }
  index_t y_height() const { return shape_.out_height() / step(); }
  index_t y_width() const { return shape_.out_width() / step(); }

  // Which filter each sum of each part belongs to, and what it begins with.
  void write_tables() {
    std::string filters, biases;
    for (const std::vector<index_t>& part : parts_) {
      for (index_t f = 0; f < layout_.filters; ++f) {
        const bool exists = f < index_t(part.size());
        const index_t filter = exists ? part[std::size_t(f)] : -1;
        const float bias = exists && !product_.bias.empty() ? product_.bias[std::size_t(filter)] : 0.0f;
        require(std::isfinite(bias), "a bias is not finite");
        filters += std::to_string(filter) + ", ", biases += number(bias) + ", ";
      }
    }
    text() += "static __constant__ int espalier_filters[] = {" + filters + "};\n";
    text() += "static __constant__ float espalier_biases[] = {" + biases + "};\n";
  }

  // Where this block and this thread are, and the sums.
  void write_begin() {
    const index_t cells = layout_.cells(), tiles = layout_.tiles(), tiles_x = layout_.tiles_x();
    text() +=
        line("  float* const slab = ",
             host_ ? "espalier::simt::dynamic_shared<float>()" : "reinterpret_cast<float*>(espalier_shared)", ";");
    text() += line("  const int blocks = int(gridDim.x) / ", layout_.groups,
                   ", part = int(blockIdx.x) / blocks, block = int(blockIdx.x) % blocks;");
    text() += line("  const long long first = block / ", tiles, " * ", layout_.images, "LL;");
    text() +=
        line("  const int count = batch - first < ", layout_.images, " ? int(batch - first) : ", layout_.images, ";");
    text() += line("  const int tile_row = block % ", tiles, " / ", tiles_x, " * ", layout_.tile_rows,
                   ", tile_column = block % ", tiles_x, " * ", layout_.tile_columns, ";");
    text() += line("  const int image = int(threadIdx.x) / ", cells, ", cell = int(threadIdx.x) % ", cells, ";");
    text() += line("  const int row = cell / ", layout_.cells_x(), " * ", layout_.cell_rows, ", column = cell % ",
                   layout_.cells_x(), " * ", layout_.cell_columns, ";");
    text() += line("  const float* const in = slab + (image < ", layout_.images, " ? image * ", layout_.image,
                   " + row * ", layout_.pitch, " + column : 0);");
    const index_t cell = layout_.cell_rows * layout_.cell_columns;
    for (index_t f = 0; f < layout_.filters; ++f) {
      text() += "  float";
      for (index_t t = 0; t < cell; ++t) {
        text() += std::string(t > 0 ? ", a" : " a") + std::to_string(f * cell + t) + " = espalier_biases[part * " +
                  std::to_string(layout_.filters) + " + " + std::to_string(f) + "]";
      }
      text() += ";\n";
    }
  }

  // Some channels of the block's images into shared memory: a thread finds its place once and takes it of all of them.
  void write_slab() {
    const index_t plane = layout_.plane(), area = shape_.height * shape_.width;
    const bool whole = shape_.channels % layout_.channels == 0;
    text() += "    if (go > 0) __syncthreads();\n";
    text() += line("    for (int e = int(threadIdx.x); e < ", layout_.channel(), "; e += ", layout_.threads, ") {");
    text() += line("      const int phase = e / ", plane, ", r = e % ", plane, " / ", layout_.pitch, ", c = e % ",
                   plane, " % ", layout_.pitch, ";");
    text() += line("      const int from_row = (tile_row + r) * ", shape_.stride, " + phase / ", layout_.phases_x,
                   " - ", shape_.padding, ";");
    text() += line("      const int from_column = (tile_column + c) * ", shape_.stride, " + phase % ", layout_.phases_x,
                   " - ", shape_.padding, ";");
    text() += line("      const bool exists = unsigned(from_row) < ", shape_.height, "u && unsigned(from_column) < ",
                   shape_.width, "u;");
    text() += line("      const float* const from = x + (first * ", shape_.channels, " + go * ", layout_.channels,
                   ") * ", area, "LL + from_row * ", shape_.width, " + from_column;");
    // Beyond some loads in flight registers run out.
    text() += line("#pragma unroll ", std::max<index_t>(1, 16 / layout_.channels));
    text() += line("      for (int i = 0; i < ", layout_.images, "; ++i) {");
    text() += line("#pragma unroll ", std::min<index_t>(16, layout_.channels));
    text() += line("        for (int k = 0; k < ", layout_.channels, "; ++k) {");
    text() += line(
        "          const bool there = exists && i < count",
        whole ? "" : " && go * " + std::to_string(layout_.channels) + " + k < " + std::to_string(shape_.channels), ";");
    text() += line("          slab[i * ", layout_.image, " + k * ", layout_.channel(), " + e] = there ? from[i * ",
                   shape_.channels * area, "LL + k * ", area, "] : 0.0f;");
    text() += "        }\n      }\n    }\n    __syncthreads();\n";
  }

  // Of one channel: what each place is multiplied with.
  std::map<Place, std::vector<Use>> uses_of(const std::vector<index_t>& filters, index_t channel) {
    const index_t taps = shape_.kernel_height * shape_.kernel_width, cell = layout_.cell_rows * layout_.cell_columns;
    std::map<Place, std::vector<Use>> uses;
    for (std::size_t f = 0; f < filters.size(); ++f) {
      const auto row = std::size_t(filters[f]);
      for (index_t k = product_.row_offsets[row]; k < product_.row_offsets[row + 1]; ++k) {
        const index_t tap = product_.column_indices[std::size_t(k)] - channel * taps;
        if (tap < 0 || tap >= taps) continue;
        const float weight = product_.values[std::size_t(k)];
        require(std::isfinite(weight), "a weight is not finite");
        const index_t y = tap / shape_.kernel_width * shape_.dilation, x = tap % shape_.kernel_width * shape_.dilation;
        const index_t phase = y % shape_.stride * layout_.phases_x + x % shape_.stride;
        for (index_t t = 0; t < cell; ++t) {
          const index_t down = t / layout_.cell_columns, across = t % layout_.cell_columns;
          uses[{phase, y / shape_.stride + down, x / shape_.stride + across}].push_back(
              {index_t(f) * cell + t, weight});
        }
        ++source_.nonzeros;
      }
    }
    return uses;
  }

  void write_part(std::size_t part) {
    const index_t before = source_.products;
    for (index_t go = 0; go < goes(); ++go) {
      text() += line("      case ", index_t(part) * goes() + go, ": {");
      for (index_t k = 0; k < layout_.channels && go * layout_.channels + k < shape_.channels; ++k) {
        write_channel(uses_of(parts_[part], go * layout_.channels + k), k * layout_.channel());
      }
      text() += "      } break;\n";
    }
    require(source_.products - before <= Conv2dSource::kMostProducts, "more than ", Conv2dSource::kMostProducts,
            " multiply-adds in a thread's code: too long to compile");
  }

  void write_channel(const std::map<Place, std::vector<Use>>& uses, index_t begin) {
    const index_t wide = layout_.cell_columns;
    if (uses.empty()) return;
    text() += "        {\n";
    for (auto at = uses.begin(); at != uses.end();) {
      const Place first{at->first.phase, at->first.row, at->first.column / wide * wide};
      const index_t offset = begin + first.phase * layout_.plane() + first.row * layout_.pitch + first.column;
      const std::string type = wide == 2 ? "float2" : "float";
      text() += "          { const " + type + " v = *reinterpret_cast<const " + type + "*>(in + " +
                std::to_string(offset) + ");";
      ++source_.loads;
      for (; at != uses.end() && Place{at->first.phase, at->first.row, at->first.column / wide * wide} == first; ++at) {
        const char* const value = wide == 1 ? "v" : at->first.column == first.column ? "v.x" : "v.y";
        for (const Use& use : at->second) {
          text() += " ADD(a" + std::to_string(use.sum) + ", " + number(use.weight) + ", " + value + ");";
          ++source_.products;
        }
      }
      text() += " }\n";
    }
    text() += "        }\n";
  }

  std::string activated(const std::string& value) const {
    const std::string name = activation_name(product_.activation);
    if (name.empty()) return value;
    const bool leaky = product_.activation == Activation::leaky_relu;
    return name + "(" + value + (leaky ? ", " + number(product_.slope) : "") + ")";
  }

  void write_results() {
    const index_t area = y_height() * y_width();
    text() += line("  const int to_row = (tile_row + row) / ", step(), ", to_column = (tile_column + column) / ",
                   step(), ";");
    text() += line("  if (image >= count || to_row >= ", y_height(), " || to_column >= ", y_width(), ") return;");
    text() += line("  float* const to = y + (first + image) * ", shape_.filters * area, "LL + to_row * ", y_width(),
                   " + to_column;");
    if (!product_.pool) {
      text() += line("  [[maybe_unused]] const bool below = to_row + 1 < ", y_height(), ", right = to_column + 1 < ",
                     y_width(), ";");
    }
    for (index_t f = 0; f < layout_.filters; ++f) {
      text() +=
          line("  if (const int filter = espalier_filters[part * ", layout_.filters, " + ", f, "]; filter >= 0) {");
      text() += line("    float* const out = to + filter * ", area, ";");
      product_.pool ? write_largest(f) : write_cell(f);
      text() += "  }\n";
    }
  }

  void write_largest(index_t f) {
    const auto sum = [&](index_t t) { return "a" + std::to_string(4 * f + t); };
    text() +=
        line("    out[0] = ",
             activated("larger(larger(" + sum(0) + ", " + sum(1) + "), larger(" + sum(2) + ", " + sum(3) + "))"), ";");
  }

  // Two neighbours at once where every row of y has them in pairs.
  void write_cell(index_t f) {
    const index_t columns = layout_.cell_columns, cell = layout_.cell_rows * columns;
    const bool pairs = columns == 2 && y_width() % 2 == 0;
    const char* const where[] = {"", "if (right) ", "if (below) ", "if (below && right) "};
    for (index_t t = 0; t < cell; t += pairs ? 2 : 1) {
      const index_t down = t / columns, across = t % columns, at = down * y_width() + across;
      const auto value = [&](index_t i) { return activated("a" + std::to_string(f * cell + i)); };
      text() += pairs ? line("    ", where[2 * down], "*reinterpret_cast<float2*>(out + ", at, ") = make_float2(",
                             value(t), ", ", value(t + 1), ");")
                      : line("    ", where[2 * down + across], "out[", at, "] = ", value(t), ";");
    }
  }

  const FusedProduct& product_;
  const Conv2dShape& shape_;
  Conv2dSourceLayout layout_;
  bool host_;
  std::vector<std::vector<index_t>> parts_;
  Conv2dSource source_;
};

}  // namespace

index_t Conv2dSource::blocks(index_t batch) const {
  return layout.groups * layout.tiles() * ceil_div(batch, layout.images);
}

simt::Launch Conv2dSource::launch(index_t batch, const float* y, cudaStream_t stream,
                                  std::source_location where) const {
  require(blocks(batch) <= kMaxGridX, "compiled convolution: a batch of ", batch, " takes ", blocks(batch),
          " blocks, more than a grid has; split it");
  require(reinterpret_cast<std::uintptr_t>(y) % sizeof(float2) == 0,
          "compiled convolution: y must begin at a multiple of ", sizeof(float2), " bytes");
  return {dim3(unsigned(blocks(batch))), dim3(unsigned(layout.threads)), std::size_t(shared_bytes()), stream, where};
}

Conv2dSource conv2d_source(const FusedProduct& product, const Conv2dSourceLayout& layout, SourceTarget target) {
  const Conv2dShape& shape = product.shape;
  require(shape.groups == 1, "the code of a convolution with groups is not written");
  require(shape.channels * shape.height * shape.width <= INT_MAX &&
              shape.filters * shape.out_height() * shape.out_width() <= INT_MAX,
          "an image of x or y has more than ", INT_MAX, " floats");
  return Conv2dWriter(product, layout, target).write();
}

}  // namespace espalier::kernels
