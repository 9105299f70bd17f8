// Pieces of pictures, as plain SVG text.
#pragma once
#include <array>
#include <string>

namespace espalier::apps::svg {

inline constexpr std::array<const char*, 9> kColours{"#6b7280", "#9a6a00", "#b45309", "#7c3aed", "#0369a1",
                                                     "#0f766e", "#be185d", "#4d7c0f", "#1d4ed8"};

// A chart, and in it the frame of its axes; the legend is to the right.
inline constexpr double kWidth = 860, kHeight = 460, kLeft = 70, kRight = 620, kTop = 76, kBottom = 396;

struct Style {
  int size = 13;
  const char* anchor = "start";
  const char* colour = "#374151";
};

std::string opening(double width, double height);  // of a white picture; it ends with "</svg>\n"
std::string text_at(double x, double y, const std::string& text, const Style& style);
std::string rule(double x1, double y1, double x2, double y2, const char* stroke);
std::string dot(double x, double y, const char* colour);

}  // namespace espalier::apps::svg
