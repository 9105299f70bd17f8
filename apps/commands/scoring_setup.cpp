#include "apps/commands/scoring_setup.h"

#include <functional>
#include <map>

#include "apps/commands/channel_options.h"
#include "apps/commands/pattern_words.h"
#include "apps/commands/pruning_words.h"

namespace espalier::apps {

using namespace pruning;

ScoringSetup::ScoringSetup(Module& model, const data::ImageData& images, const PruningOptions& options,
                           std::uint64_t seed) {
  const Shape image = images.train.samples().dataset().image_shape();
  const auto calibration = [&]() -> Calibration& {
    if (!calibration_) {
      calibration_.emplace(
          model, images.train,
          CalibrationOptions{.samples = options.calibration_samples, .batch = options.calibration_batch});
    }
    return *calibration_;
  };
  const std::map<std::string, std::function<Criterion()>> makers{
      {"magnitude", magnitude},
      {"random", [&] { return pruning::random(seed); }},
      {"gradient", [&] { return absolute_gradient(calibration()); }},
      {"taylor", [&] { return taylor(calibration()); }},
      {"taylor-squared", [&] { return taylor_squared(calibration()); }},
      {"snip", [&] { return snip(calibration()); }},
      {"grasp", [&] { return grasp(calibration()); }},
      {"movement", [&] { return pruning::movement(movement_.emplace(model)); }},
      {"fisher", [&] { return diagonal_fisher(calibration()); }},
      {"block-obs", [&] { return block_obs(calibration()); }},
      {"geometric-median", geometric_median},
      {"dissimilarity", filter_dissimilarity},
      {"batch-norm-scale",
       [&] {
         return batch_norm_scale(model, {1, image[0], image[1], image[2]});
       }},
      {"activation-frequency", [&] { return activation_frequency(calibration()); }},
      {"wanda", [&] { return wanda(calibration()); }}};
  require(options.criterion != kAblation, "prune: the criterion ", kAblation,
          " takes one branch out at a time; give --pattern ", kBranch);
  const bool slims = prunes_channels(options) && options.criterion == "batch-norm-scale";
  criterion_ = slims ? magnitude() : meaning_of(makers, options.criterion)();  // the pattern looks at scales itself
  if (options.group == "element") return;
  criterion_ = grouped(std::move(criterion_), grouping_of(options.group), group_score_of(options.group_score));
}

}  // namespace espalier::apps
