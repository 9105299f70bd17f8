// The cpu build's compiler: a program started with a list of arguments, never through a shell, in a folder of its own.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "kernels/vendor/compiler.h"

extern char** environ;

namespace espalier::kernels::vendor {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr std::chrono::seconds kLimit{60};
const Words kOptions{"-x", "c++", "-std=c++17", "-O2", "-march=native", "-fPIC", "-shared", "-nostdlib"};

std::string read_file(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// A folder that only this user can enter, and that is gone in the end.
struct PrivateFolder {
  fs::path path;
  PrivateFolder() {
    std::error_code error;
    std::string name = (fs::temp_directory_path(error) / "espalier-XXXXXX").string();
    if (error || !mkdtemp(name.data())) throw CompileError("no temporary folder can be made to compile in");
    path = name;
  }
  ~PrivateFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
};

// How a program is started: no input, both outputs into one file, a process group of its own.
struct SpawnSettings {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  explicit SpawnSettings(const fs::path& log) {
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

// The exit status, 127 where there is no such program. One that takes too long is ended with all that it started.
int run(Words words, const fs::path& log) {
  const SpawnSettings settings(log);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawnp(&child, arguments[0], &settings.files, &settings.attributes, arguments.data(), environ) != 0) {
    return 127;
  }
  const auto end = std::chrono::steady_clock::now() + kLimit;
  int status = 0;
  while (true) {
    const pid_t done = waitpid(child, &status, WNOHANG);
    if (done == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    if (done < 0 && errno != EINTR) return 128;
    if (std::chrono::steady_clock::now() > end) {
      kill(-child, SIGKILL);
      waitpid(child, &status, 0);
      throw CompileError("the compiler took more than " + std::to_string(kLimit.count()) + " s and was stopped");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

struct Compiler {
  std::string program, version;
};

Compiler find_compiler() {
  const char* const named = std::getenv("ESPALIER_CXX");
  const Words programs = named && *named ? Words{named} : Words{ESPALIER_CXX_COMPILER, "c++"};
  const PrivateFolder folder;
  std::string tried;
  for (const std::string& program : programs) {
    if (run({program, "--version"}, folder.path / "log") == 0) {
      return {program, first_line(read_file(folder.path / "log"))};
    }
    tried += (tried.empty() ? "" : ", ") + program;
  }
  throw CompileError("no C++ compiler answers here (tried " + tried + ")");
}

// -march=native means another machine's instructions elsewhere: a cache may be shared by several machines.
std::string processor() {
  std::ifstream stream("/proc/cpuinfo");
  std::string text;
  for (std::string line; std::getline(stream, line) && !line.empty();) {
    if (line.starts_with("model name") || line.starts_with("flags") || line.starts_with("Features"))
      text += line + "\n";
  }
  return text;
}

}  // namespace

std::string_view compiler_name() { return "C++ compiler"; }

std::string compiler_identity() {
  const Compiler compiler = find_compiler();
  std::string identity = compiler.program + "\n" + compiler.version + "\n";
  for (const std::string& option : kOptions) identity += option + " ";
  return identity + "\n" + processor();
}

std::string compiled_object(const std::string& source, std::string) {
  const PrivateFolder folder;
  const std::string text = folder.path / "network.cpp", object = folder.path / "network.so";
  std::ofstream(text, std::ios::binary) << source;
  Words words{find_compiler().program};
  words.insert(words.end(), kOptions.begin(), kOptions.end());
  words.insert(words.end(), {"-o", object, text});
  if (const int status = run(words, folder.path / "log"); status != 0) {
    throw CompileError(words[0] + " ended with " + std::to_string(status) + ": " +
                       first_line(read_file(folder.path / "log")));
  }
  return read_file(object);
}

}  // namespace espalier::kernels::vendor
