// espalier: trains, prunes, compiles and measures networks. Parses the command line, runs one command and turns what
// went wrong into one line and an exit code.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <regex>
#include <string>
#include <vector>

#include "apps/commands/commands.h"
#include "apps/commands/output.h"
#include "core/data/idx.h"
#include "core/device/error.h"
#include "core/train/atomic_file.h"
#include "core/train/safetensors.h"

namespace espalier::apps {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 unexpected failure, 2 wrong usage, 4 data set missing or damaged, 5 checkpoint or file "
    "cannot be read or written, 6 device failure";

// A full disk behind standard output shows only here.
void require_written_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    throw FileError("standard output cannot be written to its end; is its disk full?");
  }
}

// CLI11's checks tell the largest double with all of its 309 digits.
std::string short_failure(const CLI::App* parser, const CLI::Error& error) {
  static const std::regex endless(" not in range 0\\.0+ to 1797[0-9.]+");
  return std::regex_replace(CLI::FailureMessage::simple(parser, error), endless, " is too small");
}

template <class Action>
int guarded(const Action& action) {
  const auto fail = [](const std::exception& error, ExitCode code) {
    std::fprintf(stderr, "espalier: %s\n", error.what());
    return int(code);
  };
  try {
    action();
    require_written_output();
    return kSuccess;
  } catch (const InvalidArgument& error) {
    return fail(error, kUsage);
  } catch (const data::DataError& error) {
    return fail(error, kNoData);
  } catch (const CheckpointError& error) {
    return fail(error, kNoFile);
  } catch (const FileError& error) {
    return fail(error, kNoFile);
  } catch (const DeviceError& error) {
    return fail(error, kDeviceFailure);
  } catch (const std::exception& error) {
    return fail(error, kUnexpected);
  }
}

int main(int count, char** arguments) {
  CLI::App app("Espalier trains, prunes, compiles and measures neural networks.", "espalier");
  app.footer(kExitCodes);
  app.require_subcommand(0, 1);
  app.failure_message(short_failure);
  bool device = false;
  Output output;
  app.add_flag("--device-info", device, "Print what the work runs on");
  add_output_options(app, output);
  const std::vector<Command> commands{mnist_command(app),   train_command(app),      prune_command(app),
                                      eval_command(app),    bench_command(app),      inspect_command(app),
                                      explain_command(app), export_command(app),     shrink_command(app),
                                      compare_command(app), sensitivity_command(app)};
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kSuccess : kUsage;
  }
  if (device) return guarded([&] { print_device(output); });
  for (const Command& command : commands) {
    if (command.parser->parsed()) return guarded(command.run);
  }
  std::fputs(app.help().c_str(), stderr);
  return kUsage;
}

}  // namespace
}  // namespace espalier::apps

int main(int count, char** arguments) { return espalier::apps::main(count, arguments); }
