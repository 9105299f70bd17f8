#include "apps/commands/precision_option.h"

#include "apps/commands/named_values.h"

namespace espalier::apps {

void add_precision_option(CLI::App& app, Precision& precision) {
  NamedValues<Precision> names;
  for (const Precision each : {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16}) {
    names.emplace_back(to_string(each), each);
  }
  const char* const what = "What products read their operands in; weights and sums are fp32 in all";
  take_names(app.add_option("--precision", precision, what), names)->default_str("fp32");
}

}  // namespace espalier::apps
