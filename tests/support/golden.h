// Reads the golden tensors that tests/golden/make_golden.py wrote: cases with named tensors and attributes.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/source_dir.h"

namespace espalier::test {

struct GoldenTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct GoldenCase {
  std::string name;
  std::map<std::string, GoldenTensor> tensors;
  nlohmann::json attributes;

  const GoldenTensor& operator[](const std::string& tensor) const {
    const auto found = tensors.find(tensor);
    if (found == tensors.end()) throw std::runtime_error("golden case '" + name + "' has no tensor '" + tensor + "'");
    return found->second;
  }
  template <class T>
  T attribute(const std::string& key) const {
    return attributes.at(key).get<T>();
  }
};

// The cases of tests/golden/FILE.safetensors whose name begins with `prefix`, in alphabetical order.
inline std::vector<GoldenCase> golden_cases(const std::string& file, const std::string& prefix = "") {
  const std::string path = test::source_dir() + "/tests/golden/" + file + ".safetensors";
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) throw std::runtime_error("cannot read " + path);
  std::memcpy(&length, bytes.data(), sizeof length);
  nlohmann::json header = nlohmann::json::parse(bytes.substr(sizeof length, length));
  const char* raw = bytes.data() + sizeof length + length;

  std::vector<GoldenCase> cases;
  for (const auto& [name, attributes] : header.at("__metadata__").items()) {
    if (!name.starts_with(prefix)) continue;
    GoldenCase next{name, {}, nlohmann::json::parse(attributes.get<std::string>())};
    for (const auto& [key, entry] : header.items()) {
      if (!key.starts_with(name + "/")) continue;
      GoldenTensor tensor{entry.at("shape").get<std::vector<std::int64_t>>(), {}};
      const auto [begin, end] = entry.at("data_offsets").get<std::pair<std::size_t, std::size_t>>();
      tensor.values.resize((end - begin) / sizeof(float));
      std::memcpy(tensor.values.data(), raw + begin, end - begin);
      next.tensors[key.substr(name.size() + 1)] = std::move(tensor);
    }
    cases.push_back(std::move(next));
  }
  return cases;
}

}  // namespace espalier::test
