// Finds the __shared__ variables of a kernel: they are function-local thread-locals, which no macro can register, but
// the program's own symbol table names them, "<kernel>::<variable>" in mangled form.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace espalier::simt::detail {

// As they lie in the calling OS thread: those of the kernel itself, then those of device functions, which it may call.
// Empty for a stripped program.
struct SharedVariables {
  std::vector<std::span<char>> own, of_functions;
  std::size_t own_bytes() const;
};
SharedVariables shared_variables_of(const void* kernel);

}  // namespace espalier::simt::detail
