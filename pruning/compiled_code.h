// Source text to something that runs: from the cache if what it has of this compiler can be loaded, else compiled.
#pragma once
#include <string>

#include "kernels/vendor/compiler.h"
#include "pruning/object_cache.h"

namespace espalier::pruning {

// load(object) gives what runs, or throws CompileError.
template <class Load>
auto loaded_or_compiled(const std::string& text, const std::string& compiler, const ObjectCache& objects,
                        const Load& load) {
  const std::string key = compiler + "\n" + text;
  if (const auto known = objects.find(key)) {
    try {
      return load(*known);
    } catch (const kernels::vendor::CompileError&) {  // of a machine that is no longer this one: compiled again below
    }
  }
  const std::string object = kernels::vendor::compiled_object(text);
  auto loaded = load(object);
  objects.store(key, object);
  return loaded;
}

}  // namespace espalier::pruning
