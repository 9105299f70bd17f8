// A picture of bench: speed-up against dense fp32 over the batch size, one line per format, as plain SVG.
#pragma once
#include <string>

#include "apps/commands/bench_report.h"

namespace espalier::apps {

std::string speedup_chart(const std::string& title, const Comparisons& comparisons);

}  // namespace espalier::apps
