// The sub-commands. Each adds itself to the parser and returns what to do if it was the one asked for.
#pragma once
#include <functional>

namespace CLI {
class App;
}

namespace espalier::apps {

enum ExitCode {
  kSuccess = 0,
  kUnexpected = 1,     // a defect: please report it
  kUsage = 2,          // unknown option, impossible value
  kNoData = 4,         // the data set is not there, or damaged
  kNoFile = 5,         // a checkpoint cannot be read, a file cannot be written
  kDeviceFailure = 6,  // no device answers, or it reported an error
};

struct Command {
  CLI::App* parser = nullptr;
  std::function<void()> run;
};

Command train_command(CLI::App& app);
Command prune_command(CLI::App& app);
Command sensitivity_command(CLI::App& app);
Command compare_command(CLI::App& app);
Command eval_command(CLI::App& app);
Command bench_command(CLI::App& app);
Command explain_command(CLI::App& app);
Command inspect_command(CLI::App& app);
Command export_command(CLI::App& app);
Command shrink_command(CLI::App& app);
Command mnist_command(CLI::App& app);

}  // namespace espalier::apps
