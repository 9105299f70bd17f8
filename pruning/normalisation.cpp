#include "pruning/normalisation.h"

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/lamp.h"
#include "kernels/mask.h"
#include "kernels/require.h"
#include "pruning/reduced.h"

namespace espalier::pruning {
namespace {

Tensor lamp(const Tensor& scores, const std::string& name) {
  Tensor negated = Tensor::like(scores);
  kernels::scale(scores.size(), -1.0f, scores.data<float>(), negated.data<float>(), current_stream());
  const float lowest = -reduced(negated, kernels::Reduction::maximum);
  require(lowest >= 0.0f, name, ": a score is ", lowest,
          "; lamp needs a criterion whose scores are at least 0, such as magnitude or taylor");
  const Tensor workspace =
      Tensor::empty({std::int64_t(kernels::lamp_scores_workspace_bytes(scores.size()))}, DType::u8);
  kernels::lamp_scores(scores.size(), scores.data<float>(), negated.data<float>(), workspace.raw(), current_stream());
  return negated;
}

}  // namespace

Tensor normalised(const Tensor& scores, ScoreNormalisation normalisation, std::int64_t living,
                  const std::string& name) {
  if (normalisation == ScoreNormalisation::none) return scores;
  if (normalisation == ScoreNormalisation::lamp) return lamp(scores, name);
  Tensor result = Tensor::like(scores);
  kernels::magnitude_scores(scores.size(), scores.data<float>(), result.data<float>(), current_stream());
  const bool mean = normalisation == ScoreNormalisation::mean;
  const float unit = reduced(result, mean ? kernels::Reduction::sum : kernels::Reduction::maximum) /
                     (mean && living > 0 ? float(living) : 1.0f);
  kernels::scale(scores.size(), unit > 0.0f ? 1.0f / unit : 1.0f, scores.data<float>(), result.data<float>(),
                 current_stream());
  return result;
}

}  // namespace espalier::pruning
