// Events that are asked while work is still under way: where streams run behind the host, as on a GPU, the answer "not
// yet" is no failure of what comes next.
#include "core/device/stream.h"

#include <doctest/doctest.h>

#include "core/tensor/tensor.h"
#include "kernels/elementwise.h"

namespace espalier {
namespace {

TEST_CASE("event: asking whether it was reached leaves no error behind for the next launch") {
  const Tensor values = Tensor::empty({1 << 12});
  Event event;
  kernels::fill(values.size(), 1.0f, values.data<float>(), current_stream());
  event.record();
  event.reached();  // or not yet
  CHECK_NOTHROW(kernels::fill(values.size(), 2.0f, values.data<float>(), current_stream()));
  event.wait();
  CHECK(event.reached());
  CHECK(values.to_host().back() == 2.0f);
}

}  // namespace
}  // namespace espalier
