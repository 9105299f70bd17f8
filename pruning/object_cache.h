// Compiled code, kept on disk beside the measured times (plan_cache.h): what is compiled once is loaded from then on.
// One file per source and compiler, named by the hash of both and holding both in full beside the object and a hash of
// it all: a file that was cut, changed or belongs to another question is compiled anew, never loaded. The folder is for
// its owner alone (0700); one that others may write to is not used.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "pruning/plan_cache.h"

namespace espalier::pruning {

class ObjectCache {
 public:
  using Warn = PlanCache::Warn;

  ObjectCache() = default;                                             // off: everything is compiled anew
  explicit ObjectCache(std::filesystem::path folder, Warn warn = {});  // warnings go to standard error by default

  std::optional<std::string> find(const std::string& key) const;
  // A folder that cannot be written to, or that is not the user's own, is told of once; the cache is off from then on.
  void store(const std::string& key, const std::string& object) const;
  std::filesystem::path file_of(const std::string& key) const;
  bool on() const { return state_ != nullptr; }

 private:
  struct State;
  std::shared_ptr<State> state_;
};

std::filesystem::path user_object_cache();  // $XDG_CACHE_HOME/espalier/compiled, or below ~/.cache

}  // namespace espalier::pruning
