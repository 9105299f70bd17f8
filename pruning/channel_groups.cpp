#include "pruning/channel_groups.h"

#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

namespace espalier::pruning {
namespace {

std::vector<std::vector<ChannelSlice>> slices_by_channel(const ChannelGraph& graph) {
  std::vector<std::vector<ChannelSlice>> channels(graph.channels());
  for (const auto& named : graph.named) {
    for (std::size_t axis = 0; axis < named.channels.size(); ++axis) {
      for (std::size_t i = 0; i < named.channels[axis].size(); ++i) {
        auto& slices = channels[std::size_t(named.channels[axis][i])];
        if (slices.empty() || slices.back().tensor != named.name || slices.back().axis != axis) {
          slices.push_back({named.name, axis, {}});
        }
        slices.back().indices.push_back(std::int64_t(i));
      }
    }
  }
  return channels;
}

std::string name_of(const std::vector<ChannelSlice>& slices) {
  for (const ChannelSlice& slice : slices) {
    if (slice.axis == 0) return layer_of(slice.tensor);
  }
  return "input";
}

// What channels of one group have in common.
using Signature = std::tuple<std::string, std::vector<std::tuple<std::string, std::size_t, std::size_t>>>;

Signature signature_of(const std::vector<ChannelSlice>& slices, const std::string& kept_because) {
  Signature signature{kept_because, {}};
  for (const ChannelSlice& slice : slices) {
    std::get<1>(signature).emplace_back(slice.tensor, slice.axis, slice.indices.size());
  }
  return signature;
}

std::string list_of(const std::vector<ChannelSlice>& slices, std::size_t axis) {
  std::string list;
  for (const ChannelSlice& slice : slices) {
    if (slice.axis != axis) continue;
    list += fmt::format("{}{}[{}]", list.empty() ? "" : ", ", slice.tensor, slice.axis);
    if (slice.indices.size() > 1) list += fmt::format(" x {}", slice.indices.size());
  }
  return list;
}

}  // namespace

std::vector<ChannelGroup> channel_groups(const ChannelGraph& graph) {
  std::vector<ChannelGroup> groups;
  std::map<Signature, std::size_t> known;
  auto slices = slices_by_channel(graph);
  for (std::size_t channel = 0; channel < slices.size(); ++channel) {
    if (slices[channel].empty()) continue;  // touches no weight
    const auto found = known.emplace(signature_of(slices[channel], graph.kept_because[channel]), groups.size());
    if (found.second) groups.push_back({name_of(slices[channel]), graph.kept_because[channel], {}, {}});
    ChannelGroup& group = groups[found.first->second];
    group.channels.push_back(std::move(slices[channel]));
    group.numbers.push_back(int(channel));
  }
  return groups;
}

std::vector<ChannelGroup> channel_groups(Module& model, const Shape& input) {
  return channel_groups(channel_graph(model, input));
}

std::string to_string(const std::vector<ChannelGroup>& groups) {
  std::string text;
  for (const ChannelGroup& group : groups) {
    const auto& slices = group.channels.front();
    text += fmt::format("{}, {} channel{}", group.name, group.channels.size(), group.channels.size() == 1 ? "" : "s");
    if (!group.kept_because.empty()) text += fmt::format(" (kept: {})", group.kept_because);
    const std::string made = list_of(slices, 0), read = list_of(slices, 1);
    if (!made.empty()) text += ": made by " + made;
    if (!read.empty()) text += (made.empty() ? ": read by " : "; read by ") + read;
    text += "\n";
  }
  return text;
}

std::string to_json(const std::vector<ChannelGroup>& groups) {
  nlohmann::json json = nlohmann::json::array();
  for (const ChannelGroup& group : groups) {
    nlohmann::json slices = nlohmann::json::array();
    for (const ChannelSlice& slice : group.channels.front()) {
      slices.push_back({{"tensor", slice.tensor}, {"axis", slice.axis}, {"per_channel", slice.indices.size()}});
    }
    json.push_back({{"name", group.name},
                    {"channels", group.channels.size()},
                    {"kept_because", group.kept_because},
                    {"slices", slices}});
  }
  return json.dump(2);
}

}  // namespace espalier::pruning
