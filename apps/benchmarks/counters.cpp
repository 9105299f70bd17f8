#include "apps/benchmarks/counters.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/commands/table.h"
#include "core/train/atomic_file.h"

namespace espalier::benchmarks {
namespace {

using nlohmann::json;

constexpr double kSectorBytes = 32;

// "tiled_product_kernel" out of the mangled "void espalier::kernels::tiled_product_kernel<...>(...)".
std::string kernel_name(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  std::string name = status == 0 ? text.get() : mangled;
  const std::size_t hidden = name.find("(anonymous namespace)::");
  if (hidden != std::string::npos) name.erase(hidden, std::string("(anonymous namespace)::").size());
  name = name.substr(0, name.find_first_of("<("));
  const std::size_t scope = name.find_last_of(": ");
  return scope == std::string::npos ? name : name.substr(scope + 1);
}

double product(const json& sizes) {
  double count = 1;
  for (const json& size : sizes) count *= size.get<double>();
  return count;
}

// Four coalesced sectors are one wavefront; a sector beyond the ideal ones lies in a line of its own.
double global_wavefronts(const json& accesses) {
  const double sectors = accesses.value("sectors", 0.0);
  const double scattered = std::max(0.0, sectors - accesses.value("ideal_sectors", 0.0));
  return std::max((sectors - scattered) / 4 + scattered, accesses.value("requests", 0.0));
}

KernelCounters counters_of(const json& kernel) {
  KernelCounters c;
  c.launches = std::max(1.0, kernel.at("launches").get<double>());
  const auto each = [&](const json& in, const char* key) { return in.value(key, 0.0) / c.launches; };
  const json &classes = kernel.at("classes"), &load = kernel.at("global_load"), &store = kernel.at("global_store");
  const json &shared_load = kernel.at("shared_load"), &shared_store = kernel.at("shared_store");
  c.kernel = kernel_name(kernel.at("name"));
  c.blocks = product(kernel.at("grid"));
  c.size = fmt::format("{:.0f} x {:.0f}", c.blocks, product(kernel.at("block")));
  c.warp_instructions = each(kernel, "warp_instructions");
  c.moves = each(classes, "move") + each(classes, "param_load");
  c.fma = each(classes, "fp32_fma"), c.mma = each(classes, "tensor_mma");
  c.fp32 = c.fma + each(classes, "fp32_add") + each(classes, "fp32_mul");
  c.flops = each(kernel, "thread_flops"), c.tensor_flops = each(kernel, "tensor_flops");
  c.sectors = each(load, "sectors") + each(store, "sectors");
  c.ideal_sectors = each(load, "ideal_sectors") + each(store, "ideal_sectors");
  c.global_wavefronts = global_wavefronts(load) / c.launches + global_wavefronts(store) / c.launches;
  c.unique_bytes = each(load, "unique_bytes") + each(store, "unique_bytes");
  const bool knows_l1 = kernel.contains("l1_128k_miss_sectors");
  const double missed = knows_l1 ? each(kernel, "l1_128k_miss_sectors") : each(load, "sectors");
  c.l2_bytes = kSectorBytes * (missed + each(store, "sectors"));
  c.wavefronts = each(shared_load, "wavefronts") + each(shared_store, "wavefronts");
  c.ideal_wavefronts = each(shared_load, "ideal_wavefronts") + each(shared_store, "ideal_wavefronts");
  return c;
}

CountedCase counted_case(const std::string& name, const json& kernels, const Cases& cases) {
  CountedCase counted;
  counted.name = name;
  const auto known = std::find_if(cases.begin(), cases.end(), [&](const Case& one) { return one.name() == name; });
  if (known != cases.end()) counted.one = &*known;
  for (const json& kernel : kernels) counted.kernels.push_back(counters_of(kernel));
  return counted;
}

// Sum over the launches of a case.
template <class Of>
double total(const CountedCase& counted, Of of) {
  double sum = 0;
  for (const KernelCounters& c : counted.kernels) sum += c.launches * of(c);
  return sum;
}

std::string ratio(double value, double ideal) { return ideal > 0 ? fmt::format("{:.2f}", value / ideal) : "-"; }

TensorType type_of(const CountedCase& counted) { return counted.one ? tensor_type_of(*counted.one) : TensorType::half; }

std::optional<ModelledTime> modelled(const GpuModel& gpu, const KernelWork& work) {
  if (work.tensor_flops > 0 && work.tensor_type == TensorType::tf32 && gpu.tf32_tflops == 0) return std::nullopt;
  return modelled_time(gpu, work);
}

std::string time_cell(const std::optional<ModelledTime>& time) {
  return time ? fmt::format("{:.1f} {}", time->us, to_string(time->bound)) : "-";
}

KernelWork ideal_work_of(const Case& one) {
  KernelWork work = ideal_work(one.tensor ? 0 : one.flops, one.bytes);
  if (one.tensor) work.tensor_flops = one.flops, work.tensor_type = tensor_type_of(one);
  return work;
}

std::string counts_table(const std::vector<CountedCase>& all) {
  apps::Table table({"case", "kernel", "blocks x threads", "warp instr.", "fma share", "flops / ideal",
                     "sectors / ideal", "bytes / ideal", "re-read", "wavefronts / ideal"},
                    {1});
  for (const CountedCase& counted : all) {
    for (const KernelCounters& c : counted.kernels) {
      const bool first = &c == &counted.kernels.front();
      const double flops = total(counted, [](const auto& k) { return k.flops + k.tensor_flops; });
      const double bytes = total(counted, [](const auto& k) { return k.unique_bytes; });
      table.add({first ? counted.name : "", c.kernel, c.size, fmt::format("{:.0f}", c.warp_instructions),
                 fmt::format("{:.1f} %", 100 * (c.fma + c.mma) / std::max(1.0, c.warp_instructions - c.moves)),
                 first && counted.one ? ratio(flops, counted.one->flops) : "", ratio(c.sectors, c.ideal_sectors),
                 first && counted.one ? ratio(bytes, counted.one->bytes) : "",
                 ratio(kSectorBytes * c.sectors, c.unique_bytes), ratio(c.wavefronts, c.ideal_wavefronts)});
    }
  }
  return table.to_markdown();
}

std::string times_table(const std::vector<CountedCase>& all) {
  std::vector<std::string> header{"case", "kernel"};
  for (const GpuModel& gpu : gpu_models()) header.push_back(std::string(gpu.name) + ", µs modelled");
  apps::Table table(header, {1});
  for (const CountedCase& counted : all) {
    const auto add = [&](const std::string& name, const std::string& kernel, const KernelWork& work) {
      std::vector<std::string> row{name, kernel};
      for (const GpuModel& gpu : gpu_models()) row.push_back(time_cell(modelled(gpu, work)));
      table.add(row);
    };
    for (const KernelCounters& c : counted.kernels) {
      add(&c == &counted.kernels.front() ? counted.name : "", c.kernel, c.work(type_of(counted)));
    }
    if (counted.one) add("", "the roofline", ideal_work_of(*counted.one));
  }
  return table.to_markdown();
}

json to_json(const KernelCounters& c, TensorType type) {
  json one{{"kernel", c.kernel},
           {"size", c.size},
           {"launches", c.launches},
           {"warp_instructions", c.warp_instructions},
           {"fma", c.fma},
           {"mma", c.mma},
           {"flops", c.flops},
           {"tensor_flops", c.tensor_flops},
           {"sectors", c.sectors},
           {"ideal_sectors", c.ideal_sectors},
           {"wavefronts", c.wavefronts},
           {"ideal_wavefronts", c.ideal_wavefronts},
           {"l2_bytes", c.l2_bytes},
           {"unique_bytes", c.unique_bytes}};
  for (const GpuModel& gpu : gpu_models()) {
    const auto time = modelled(gpu, c.work(type));
    if (time) one["modelled"][std::string(gpu.id)] = {{"us", time->us}, {"bound", to_string(time->bound)}};
  }
  return one;
}

}  // namespace

KernelWork KernelCounters::work(TensorType type) const {
  KernelWork work;
  work.blocks = blocks;
  work.warp_instructions = warp_instructions - moves;
  work.fp32_warp_instructions = fp32;
  work.l1_wavefronts = wavefronts + global_wavefronts;
  work.l2_bytes = l2_bytes, work.dram_bytes = unique_bytes;
  work.tensor_flops = tensor_flops, work.tensor_type = type;
  return work;
}

std::vector<CountedCase> read_counters(const std::filesystem::path& file, const Cases& cases) {
  std::ifstream stream(file);
  if (!stream) throw FileError(file.string() + ": cannot be read");
  std::vector<CountedCase> all;
  try {
    const json document = json::parse(stream);
    if (document.contains("cases")) {
      for (const json& one : document.at("cases")) {
        all.push_back(counted_case(one.at("name"), one.at("kernels"), cases));
      }
    } else {
      all.push_back(counted_case("", document.at("kernels"), cases));
    }
  } catch (const json::exception& error) {
    throw FileError(file.string() + ": no counters of a PTX emulator: " + error.what());
  }
  return all;
}

std::string to_markdown(const std::vector<CountedCase>& counted) {
  return counts_table(counted) + "\n" + times_table(counted);
}

nlohmann::json to_json(const std::vector<CountedCase>& counted) {
  json list = json::array();
  for (const CountedCase& one : counted) {
    json kernels = json::array();
    for (const KernelCounters& c : one.kernels) kernels.push_back(to_json(c, type_of(one)));
    list.push_back({{"name", one.name}, {"note", "modelled, not measured"}, {"kernels", kernels}});
    if (one.one) list.back()["ideal"] = {{"flops", one.one->flops}, {"bytes", one.one->bytes}};
  }
  return list;
}

}  // namespace espalier::benchmarks
