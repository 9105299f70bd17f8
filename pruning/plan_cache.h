// Times that were measured before, kept on disk so that compile() need not ask the device the same question twice.
//   compile(model, shape, {.cache = PlanCache(user_plan_cache())});
// One small JSON file per question, named by its hash and holding its full text: two programs that write at once do not
// disturb each other, and whatever the question names (device, library versions, this build, shapes, attributes, the
// place of every zero) being different makes it another question. A file that is damaged is told of, ignored and
// written again.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/device/timer.h"

namespace espalier::pruning {

struct CachedTime {
  Timing timing;
  int launches = 0;
};

class PlanCache {
 public:
  using Warn = std::function<void(const std::string&)>;

  PlanCache() = default;                                             // off: knows nothing, keeps nothing
  explicit PlanCache(std::filesystem::path folder, Warn warn = {});  // warnings go to standard error by default

  std::optional<std::vector<CachedTime>> find(const std::string& question) const;
  // A folder that cannot be written to is told of once; the cache is off from then on.
  void store(const std::string& question, const std::vector<CachedTime>& answer) const;
  std::filesystem::path file_of(const std::string& question) const;
  bool on() const { return state_ != nullptr; }

 private:
  struct State;
  std::shared_ptr<State> state_;
};

std::filesystem::path user_plan_cache();  // $XDG_CACHE_HOME/espalier/plans, or below ~/.cache

// Whose times these are: device, driver, libraries with their versions, and this very build of the program.
std::string measured_on();

}  // namespace espalier::pruning
