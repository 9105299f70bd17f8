#include "core/autograd/place.h"

namespace espalier {
namespace {

thread_local std::string_view scoped_place;

}  // namespace

PlaceScope::PlaceScope(std::string_view place) : previous_(scoped_place) { scoped_place = place; }
PlaceScope::~PlaceScope() { scoped_place = previous_; }

std::string_view current_place() { return scoped_place; }

}  // namespace espalier
