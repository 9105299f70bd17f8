// --precision, of every program that computes products.
#pragma once
#include <CLI/CLI.hpp>

#include "core/device/precision.h"

namespace espalier::apps {

void add_precision_option(CLI::App& app, Precision& precision);

}  // namespace espalier::apps
