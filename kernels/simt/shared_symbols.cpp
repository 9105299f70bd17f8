// Reads .symtab of /proc/self/exe once: functions by address, and function-local thread-locals (mangled _ZZ...) by
// their offset in the program's TLS block. A kernel's name ends in _kernel by this project's rule, which tells the
// variables of other kernels, not to be touched for want of need, from those of device functions.
#include "kernels/simt/shared_symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

namespace espalier::simt::detail {
namespace {

struct Variable {
  std::string name;
  std::size_t offset, bytes;
};

struct Symbols {
  std::map<std::uintptr_t, std::string> functions;  // by address in the file
  std::vector<Variable> variables;
};

// The program's file. Mapped, so that only what is looked at is read: with debug information it has hundreds of
// megabytes. Empty where that fails.
class ProgramFile {
 public:
  ProgramFile() {
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat about = {};
    if (fstat(file, &about) == 0 && about.st_size > 0) {
      const auto bytes = std::size_t(about.st_size);
      void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
      if (mapped != MAP_FAILED) bytes_ = {static_cast<const char*>(mapped), bytes};
    }
    close(file);
  }
  ProgramFile(const ProgramFile&) = delete;
  ProgramFile& operator=(const ProgramFile&) = delete;
  ~ProgramFile() {
    if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view bytes_;
};

template <class T>
const T* at(std::string_view file, std::size_t offset, std::size_t count = 1) {
  return offset + count * sizeof(T) <= file.size() ? reinterpret_cast<const T*>(file.data() + offset) : nullptr;
}

void add(Symbols& symbols, const ElfW(Sym) & symbol, const char* name) {
  const unsigned type = symbol.st_info & 0xFu;
  if (type == STT_FUNC) symbols.functions.emplace(symbol.st_value, name);
  if (type == STT_TLS && std::string_view(name).starts_with("_ZZ")) {
    symbols.variables.push_back({name, symbol.st_value, symbol.st_size});
  }
}

Symbols read_symbols() {
  const ProgramFile program_file;
  const std::string_view file = program_file.bytes();
  Symbols symbols;
  const auto* header = at<ElfW(Ehdr)>(file, 0);
  if (header == nullptr || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return symbols;
  const auto* sections = at<ElfW(Shdr)>(file, header->e_shoff, header->e_shnum);
  for (unsigned i = 0; sections != nullptr && i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const std::size_t count = sections[i].sh_size / sizeof(ElfW(Sym)), names = sections[sections[i].sh_link].sh_offset;
    const auto* table = at<ElfW(Sym)>(file, sections[i].sh_offset, count);
    for (std::size_t k = 0; table != nullptr && k < count; ++k) add(symbols, table[k], &file[names + table[k].st_name]);
  }
  return symbols;
}

// Where the program was loaded, and the calling thread's copy of its thread-locals.
struct Program {
  std::uintptr_t base = 0;
  char* thread_locals = nullptr;
};

Program program() {
  Program found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        *static_cast<Program*>(result) = {info->dlpi_addr, static_cast<char*>(info->dlpi_tls_data)};
        return 1;  // the first is the program itself
      },
      &found);
  return found;
}

// Not another library's thread-local: ours is aligned, and its function lies in our namespace or a nameless one.
bool is_of_device_function(const Variable& variable) {
  const auto mentions = [&](const char* text) { return variable.name.find(text) != std::string::npos; };
  return variable.offset % 64 == 0 && !mentions("_kernel") && (mentions("8espalier") || mentions("_GLOBAL__N_"));
}

}  // namespace

std::size_t SharedVariables::own_bytes() const {
  std::size_t bytes = 0;
  for (const std::span<char> variable : own) bytes += variable.size();
  return bytes;
}

SharedVariables shared_variables_of(const void* kernel) {
  static const Symbols symbols = read_symbols();
  const Program here = program();
  SharedVariables found;
  const auto function = symbols.functions.find(reinterpret_cast<std::uintptr_t>(kernel) - here.base);
  if (function == symbols.functions.end() || here.thread_locals == nullptr) return found;
  const std::string prefix = "_ZZ" + function->second.substr(2) + "E";
  for (const Variable& variable : symbols.variables) {
    const std::span<char> bytes{here.thread_locals + variable.offset, variable.bytes};
    if (variable.name.starts_with(prefix))
      found.own.push_back(bytes);
    else if (is_of_device_function(variable))
      found.of_functions.push_back(bytes);
  }
  return found;
}

}  // namespace espalier::simt::detail
