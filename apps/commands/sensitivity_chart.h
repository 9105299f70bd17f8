// A picture of sensitivity: accuracy over the sparsity of one layer at a time, with its 95 % interval, as plain SVG.
#pragma once
#include <string>

#include "pruning/sensitivity.h"

namespace espalier::apps {

std::string sensitivity_chart(const std::string& title, const pruning::Sensitivity& sensitivity);

}  // namespace espalier::apps
