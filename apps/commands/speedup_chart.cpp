#include "apps/commands/speedup_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/commands/svg.h"

namespace espalier::apps {
namespace {

using pruning::Comparison;
using pruning::Contender;

constexpr const char* kPlanColour = "#111827";  // of no other line

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
    return svg::kLeft + (std::log2(double(batch)) - first) / (last - first) * (svg::kRight - svg::kLeft);
  }
  double y(double speedup) const {
    return svg::kBottom - (std::log2(speedup) - lowest) / (highest - lowest) * (svg::kBottom - svg::kTop);
  }
};

std::string grid(const Axes& axes, const Comparisons& comparisons) {
  std::string picture;
  for (double power = axes.lowest; power <= axes.highest; ++power) {
    const double y = axes.y(std::exp2(power));
    const char* stroke = power == 0 ? "stroke=\"#374151\" stroke-width=\"1.5\"" : "stroke=\"#e5e7eb\"";
    picture += svg::rule(svg::kLeft, y, svg::kRight, y, stroke);
    picture +=
        svg::text_at(svg::kLeft - 8, y + 4,
                     power < 0 ? fmt::format("1/{:g}x", std::exp2(-power)) : fmt::format("{:g}x", std::exp2(power)),
                     {.anchor = "end"});
  }
  for (const Comparison& comparison : comparisons) {
    const double x = axes.x(comparison.batch);
    picture += svg::rule(x, svg::kBottom, x, svg::kBottom + 5, "stroke=\"#374151\"");
    picture += svg::text_at(x, svg::kBottom + 20, std::to_string(comparison.batch), {.anchor = "middle"});
  }
  return picture + svg::text_at((svg::kLeft + svg::kRight) / 2, svg::kBottom + 42, "batch size", {.anchor = "middle"});
}

// The line of the contender at `place`, and its name in the legend.
std::string series(const Axes& axes, const Comparisons& comparisons, std::size_t place, std::size_t row) {
  const Contender& named = comparisons.front().contenders[place];
  const bool plan = named.name == "plan", dense = named.name.starts_with("dense");
  const char* const colour = plan ? kPlanColour : svg::kColours[place % svg::kColours.size()];
  const std::string stroke = fmt::format("stroke=\"{}\" stroke-width=\"{}\"{}", colour, plan ? 3.5 : 1.8,
                                         dense ? " stroke-dasharray=\"5 4\"" : "");
  std::string points, dots;
  for (const Comparison& comparison : comparisons) {
    const Contender& one = comparison.contenders[place];
    if (!one.took_part()) continue;
    const double x = axes.x(comparison.batch), y = axes.y(comparison.speedup(one));
    points += fmt::format("{:.1f},{:.1f} ", x, y);
    dots += svg::dot(x, y, colour);
  }
  const double y = svg::kTop + 8 + 22 * double(row);
  return fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", stroke, points) + dots +
         svg::rule(svg::kRight + 22, y, svg::kRight + 50, y, stroke.c_str()) +
         svg::text_at(svg::kRight + 58, y + 4, named.name, {.colour = colour});
}

}  // namespace

std::string speedup_chart(const std::string& title, const Comparisons& comparisons) {
  std::string picture = svg::opening(svg::kWidth, svg::kHeight);
  picture += svg::text_at(svg::kLeft, 30, title, {.size = 18, .colour = "#111827"});
  picture += svg::text_at(svg::kLeft, 52,
                          "speed-up of the whole network against dense fp32; times: " + comparisons.front().timing, {});
  const Axes axes(comparisons);
  picture += grid(axes, comparisons);
  std::size_t row = 0;
  for (std::size_t place = 0; place < comparisons.front().contenders.size(); ++place) {
    const auto took_part = [&](const Comparison& comparison) { return comparison.contenders[place].took_part(); };
    if (place > 0 && std::any_of(comparisons.begin(), comparisons.end(), took_part)) {
      picture += series(axes, comparisons, place, row++);
    }
  }
  return picture + "</svg>\n";
}

}  // namespace espalier::apps
