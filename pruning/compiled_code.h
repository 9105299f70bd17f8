// Source text to something that runs: from the cache if what it has of this compiler can be loaded, else compiled.
#pragma once
#include <string>

#include "kernels/require.h"
#include "kernels/vendor/compiler.h"
#include "pruning/lowering.h"
#include "pruning/network_chain.h"
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

// What make() gives, or its refusal as an implementation that is not eligible.
template <class Make>
Implementation or_refused(std::string format, std::string library, const Make& make) {
  Implementation refused{.format = std::move(format), .library = std::move(library)};
  try {
    return make();
  } catch (const Refused& reason) {
    refused.not_eligible = reason.why;
  } catch (const InvalidArgument& error) {
    refused.not_eligible = error.what();
  } catch (const kernels::vendor::CompileError& error) {
    refused.not_eligible = error.what();
  }
  return refused;
}

}  // namespace espalier::pruning
