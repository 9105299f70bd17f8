// Which layer of the model the functions being applied belong to ("conv2d_1"): it names their ranges in traces and in
// Nsight, forward and backward alike. A model of layers says so as it calls them; without, a function's own name
// serves.
#pragma once
#include <string_view>

namespace espalier {

class PlaceScope {
 public:
  explicit PlaceScope(std::string_view place);  // must outlive the scope
  ~PlaceScope();
  PlaceScope(const PlaceScope&) = delete;
  PlaceScope& operator=(const PlaceScope&) = delete;

 private:
  std::string_view previous_;
};

std::string_view current_place();  // of this thread; empty outside of any scope

}  // namespace espalier
