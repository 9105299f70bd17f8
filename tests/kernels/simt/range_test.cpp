// The launcher's name out of what compilers say of a function.
#include "kernels/simt/range.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace espalier::simt {
namespace {

std::string range_test(int) { return launcher_name(std::source_location::current()); }
std::string plain_launcher(int, const std::vector<int>&) { return launcher_name(std::source_location::current()); }

template <class T>
std::vector<std::string> template_launcher(T) {
  return {launcher_name(std::source_location::current())};
}

struct Product {
  std::string run() const { return launcher_name(std::source_location::current()); }
};

TEST_CASE("launcher_name: functions, templates, members, and lambdas inside of them") {
  CHECK(range_test(0) == "range_test");
  CHECK(plain_launcher(0, {}) == "range_test plain_launcher");
  CHECK(template_launcher(0.0f).front() == "range_test template_launcher");
  CHECK(Product().run() == "range_test run");
  const auto lambda = [](auto) { return launcher_name(std::source_location::current()); };
  CHECK(lambda(1).find('(') == std::string::npos);
}

TEST_CASE("range: nobody listens, nobody makes a text") {
  int made = 0;
  {
    const Range range("layer", [&] { return RangeText{std::to_string(++made)}; });
  }
  CHECK(made == 0);
}

}  // namespace
}  // namespace espalier::simt
