#include "apps/commands/speedup_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace espalier::apps {
namespace {

using pruning::Comparison;
using pruning::Contender;

constexpr double kWidth = 860, kHeight = 460, kLeft = 70, kRight = 640, kTop = 76, kBottom = 396;
constexpr std::array<const char*, 9> kColours{"#6b7280", "#9a6a00", "#b45309", "#7c3aed", "#0369a1",
                                              "#0f766e", "#be185d", "#4d7c0f", "#1d4ed8"};

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    result += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  }
  return result;
}

struct Style {
  int size = 13;
  const char* anchor = "start";
  const char* colour = "#374151";
};

std::string text_at(double x, double y, const std::string& text, const Style& style) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"{}\">{}</text>\n", x,
                     y, style.size, style.anchor, style.colour, escaped(text));
}

std::string rule(double x1, double y1, double x2, double y2, const char* stroke) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, stroke);
}

// Both axes are logarithmic: twice as fast is as far from 1 as half as fast.
struct Axes {
  double first = 0, last = 1;      // log2 of the batch
  double lowest = 0, highest = 1;  // log2 of the speed-up

  explicit Axes(const Comparisons& comparisons) {
    double low = -0.5, high = 0.5;
    for (const Comparison& comparison : comparisons) {
      for (const Contender& one : comparison.contenders) {
        if (!one.took_part()) continue;
        low = std::min(low, std::log2(comparison.speedup(one)));
        high = std::max(high, std::log2(comparison.speedup(one)));
      }
    }
    lowest = std::floor(low), highest = std::ceil(high);
    first = std::log2(double(comparisons.front().batch)), last = std::log2(double(comparisons.back().batch));
    for (const Comparison& comparison : comparisons) {
      first = std::min(first, std::log2(double(comparison.batch)));
      last = std::max(last, std::log2(double(comparison.batch)));
    }
    if (last == first) first -= 0.5, last += 0.5;
  }
  double x(std::int64_t batch) const {
    return kLeft + (std::log2(double(batch)) - first) / (last - first) * (kRight - kLeft);
  }
  double y(double speedup) const {
    return kBottom - (std::log2(speedup) - lowest) / (highest - lowest) * (kBottom - kTop);
  }
};

std::string grid(const Axes& axes, const Comparisons& comparisons) {
  std::string svg;
  for (double power = axes.lowest; power <= axes.highest; ++power) {
    const double y = axes.y(std::exp2(power));
    svg += rule(kLeft, y, kRight, y, power == 0 ? "stroke=\"#374151\" stroke-width=\"1.5\"" : "stroke=\"#e5e7eb\"");
    svg += text_at(kLeft - 8, y + 4, fmt::format("{:g}x", std::exp2(power)), {.anchor = "end"});
  }
  for (const Comparison& comparison : comparisons) {
    const double x = axes.x(comparison.batch);
    svg += rule(x, kBottom, x, kBottom + 5, "stroke=\"#374151\"");
    svg += text_at(x, kBottom + 20, std::to_string(comparison.batch), {.anchor = "middle"});
  }
  return svg + text_at((kLeft + kRight) / 2, kBottom + 42, "batch size", {.anchor = "middle"});
}

// The line of the contender at `place`, and its name in the legend.
std::string series(const Axes& axes, const Comparisons& comparisons, std::size_t place, std::size_t row) {
  const Contender& named = comparisons.front().contenders[place];
  const char* const colour = kColours[place % kColours.size()];
  const bool plan = named.name == "plan", dense = named.name.starts_with("dense");
  const std::string stroke = fmt::format("stroke=\"{}\" stroke-width=\"{}\"{}", colour, plan ? 3.5 : 1.8,
                                         dense ? " stroke-dasharray=\"5 4\"" : "");
  std::string points, dots;
  for (const Comparison& comparison : comparisons) {
    const Contender& one = comparison.contenders[place];
    if (!one.took_part()) continue;
    const double x = axes.x(comparison.batch), y = axes.y(comparison.speedup(one));
    points += fmt::format("{:.1f},{:.1f} ", x, y);
    dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x, y, colour);
  }
  const double y = kTop + 8 + 22 * double(row);
  return fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", stroke, points) + dots +
         rule(kRight + 22, y, kRight + 50, y, stroke.c_str()) +
         text_at(kRight + 58, y + 4, named.name, {.colour = colour});
}

}  // namespace

std::string speedup_chart(const std::string& title, const Comparisons& comparisons) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"system-ui, sans-serif\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
      kWidth, kHeight);
  svg += text_at(kLeft, 30, title, {.size = 18, .colour = "#111827"});
  svg +=
      text_at(kLeft, 52, "speed-up of the whole network against dense fp32; times: " + comparisons.front().timing, {});
  const Axes axes(comparisons);
  svg += grid(axes, comparisons);
  std::size_t row = 0;
  for (std::size_t place = 0; place < comparisons.front().contenders.size(); ++place) {
    const auto took_part = [&](const Comparison& comparison) { return comparison.contenders[place].took_part(); };
    if (place > 0 && std::any_of(comparisons.begin(), comparisons.end(), took_part)) {
      svg += series(axes, comparisons, place, row++);
    }
  }
  return svg + "</svg>\n";
}

}  // namespace espalier::apps
