#include "apps/commands/sensitivity_chart.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/commands/svg.h"

namespace espalier::apps {
namespace {

using pruning::Interval;
using pruning::LayerSensitivity;
using pruning::Sensitivity;
using pruning::SensitivityPoint;


double x_of(double sparsity) { return svg::kLeft + sparsity * (svg::kRight - svg::kLeft); }

// From the lowest accuracy, rounded down to a tenth, to 1.
struct Axis {
  double lowest = 1;
  explicit Axis(const Sensitivity& sensitivity) {
    for (const LayerSensitivity& layer : sensitivity.layers) {
      for (const SensitivityPoint& point : layer.points) lowest = std::min(lowest, point.interval().low);
    }
    lowest = std::min(0.9, int(10 * lowest) / 10.0);
  }
  double y(double accuracy) const {
    return svg::kBottom - (accuracy - lowest) / (1 - lowest) * (svg::kBottom - svg::kTop);
  }
};

std::string grid(const Axis& axis) {
  std::string picture;
  for (int i = 0; i <= 5; ++i) {
    const double accuracy = axis.lowest + (1 - axis.lowest) * i / 5, sparsity = i / 5.0;
    picture += svg::rule(svg::kLeft, axis.y(accuracy), svg::kRight, axis.y(accuracy), "stroke=\"#e5e7eb\"");
    picture +=
        svg::text_at(svg::kLeft - 8, axis.y(accuracy) + 4, fmt::format("{:.0f} %", 100 * accuracy), {.anchor = "end"});
    picture += svg::rule(x_of(sparsity), svg::kBottom, x_of(sparsity), svg::kBottom + 5, "stroke=\"#374151\"");
    picture +=
        svg::text_at(x_of(sparsity), svg::kBottom + 20, fmt::format("{:.0f} %", 100 * sparsity), {.anchor = "middle"});
  }
  return picture + svg::text_at((svg::kLeft + svg::kRight) / 2, svg::kBottom + 42,
                                "of this layer's weights removed, no other's", {.anchor = "middle"});
}

std::string series(const Axis& axis, const LayerSensitivity& layer, const SensitivityPoint& unpruned, std::size_t row) {
  const char* const colour = svg::kColours[(row + 3) % svg::kColours.size()];
  const std::string stroke = fmt::format("stroke=\"{}\" stroke-width=\"2\"", colour);
  const std::string thin = fmt::format("stroke=\"{}\" stroke-opacity=\"0.5\"", colour);
  std::string points = fmt::format("{:.1f},{:.1f} ", x_of(0), axis.y(unpruned.accuracy())), marks;
  for (const SensitivityPoint& point : layer.points) {
    const double x = x_of(point.sparsity);
    const Interval interval = point.interval();
    points += fmt::format("{:.1f},{:.1f} ", x, axis.y(point.accuracy()));
    marks += svg::rule(x, axis.y(interval.low), x, axis.y(interval.high), thin.c_str()) +
             svg::dot(x, axis.y(point.accuracy()), colour);
  }
  const double y = svg::kTop + 8 + 22 * double(row);
  return fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", stroke, points) + marks +
         svg::rule(svg::kRight + 22, y, svg::kRight + 50, y, stroke.c_str()) +
         svg::text_at(svg::kRight + 58, y + 4, layer.parameter, {.colour = colour});
}

}  // namespace

std::string sensitivity_chart(const std::string& title, const Sensitivity& sensitivity) {
  const Axis axis(sensitivity);
  std::string picture = svg::opening(svg::kWidth, svg::kHeight);
  picture += svg::text_at(svg::kLeft, 30, title, {.size = 18, .colour = "#111827"});
  picture += svg::text_at(svg::kLeft, 52,
                          fmt::format("accuracy on {} samples, with 95 % intervals; nothing is trained in between",
                                      sensitivity.unpruned.samples),
                          {});
  picture += grid(axis);
  for (std::size_t i = 0; i < sensitivity.layers.size(); ++i) {
    picture += series(axis, sensitivity.layers[i], sensitivity.unpruned, i);
  }
  return picture + "</svg>\n";
}

}  // namespace espalier::apps
