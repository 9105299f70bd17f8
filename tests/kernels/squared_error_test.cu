// Mean squared error against a plain loop in double, with and without its gradient.
#include "kernels/squared_error.h"

#include <doctest/doctest.h>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("mean_squared_error: loss and gradient equal a plain loop in double, for every team and size") {
  for (std::size_t count : {1u, 2u, 37u, 4095u, 4096u, 4097u, 8193u, 20011u}) {
    const std::vector<float> prediction = random_floats(count, 1), target = random_floats(count, 2);
    double loss = 0;
    std::vector<double> gradient;
    for (std::size_t i = 0; i < count; ++i) {
      const double difference = double(prediction[i]) - double(target[i]);
      loss += difference * difference / double(count);
      gradient.push_back(2 * difference / double(count));
    }
    const GuardedBuffer<float> on_prediction(prediction), on_target(target);
    for (RowTeam team : {RowTeam::automatic, RowTeam::thread, RowTeam::block}) {
      GuardedBuffer<float> on_loss(1), without_gradient(1), dprediction(count);
      GuardedBuffer<unsigned char> workspace(mean_squared_error_workspace_bytes(index_t(count)));
      mean_squared_error(index_t(count), on_prediction.data(), on_target.data(), on_loss.data(), dprediction.data(),
                         workspace.data(), nullptr, team);
      mean_squared_error(index_t(count), on_prediction.data(), on_target.data(), without_gradient.data(), nullptr,
                         workspace.data(), nullptr, team);
      // 128 additions of positive terms in a row and a tree; differences and products are rounded once each.
      CHECK(std::abs(on_loss.download()[0] - loss) <= 140 * 0x1p-24 * loss);
      CHECK(on_loss.download() == without_gradient.download());
      CHECK(difference(dprediction.download(), gradient, 4 * 0x1p-24, 0) == "");
      CHECK(on_loss.guards_intact());
      CHECK(dprediction.guards_intact());
      CHECK(workspace.guards_intact());
    }
  }
}

TEST_CASE("scale_unit_gradient: multiplies by the loss's own gradient, read on the device") {
  for (std::size_t count : {1u, 37u, 4097u}) {
    std::vector<float> host = random_floats(count, 3);
    const GuardedBuffer<float> unit(host), dloss(std::vector<float>{-0.5f});
    GuardedBuffer<float> gradient(count);
    scale_unit_gradient(index_t(count), unit.data(), dloss.data(), gradient.data(), nullptr);
    for (float& value : host) value *= -0.5f;
    CHECK(gradient.download() == host);
    CHECK(gradient.guards_intact());
  }
}
