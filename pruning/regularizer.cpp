#include "pruning/regularizer.h"

#include "core/device/stream.h"
#include "kernels/proximal.h"
#include "kernels/require.h"

namespace espalier::pruning {
namespace {

void require_parameters(const std::vector<Parameter*>& parameters, float strength) {
  require(!parameters.empty(), "regularizer: no parameters to penalise");
  require(strength >= 0.0f, "regularizer: the strength is ", strength, "; it must be at least 0");
}

class L1 final : public Regularizer {
 public:
  L1(std::vector<Parameter*> parameters, float strength) : parameters_(std::move(parameters)), strength_(strength) {
    require_parameters(parameters_, strength);
  }
  void apply(const float* rate) const override {
    std::vector<kernels::Penalised> tensors;
    for (const Parameter* one : parameters_) tensors.push_back({one->value.value().data<float>(), one->size()});
    kernels::proximal_l1(tensors, rate, strength_, current_stream());
  }

 private:
  std::vector<Parameter*> parameters_;
  float strength_;
};

class L2 final : public Regularizer {
 public:
  L2(std::vector<Parameter*> parameters, float strength)
      : parameters_(std::move(parameters)), strength_(Tensor::full({1}, strength)) {
    require_parameters(parameters_, strength);
  }
  void apply(const float* rate) const override {
    std::vector<kernels::ChosenWeights> tensors;
    for (const Parameter* one : parameters_)
      tensors.push_back({one->value.value().data<float>(), nullptr, one->size()});
    kernels::proximal_l2(tensors, rate, strength_.data<float>(), current_stream());
  }

 private:
  std::vector<Parameter*> parameters_;
  Tensor strength_;
};

class GroupLasso final : public Regularizer {
 public:
  GroupLasso(std::vector<Parameter*> parameters, float strength, LassoGroups groups)
      : parameters_(std::move(parameters)), strength_(strength), groups_(groups) {
    require_parameters(parameters_, strength);
    for (const Parameter* one : parameters_) {
      require(one->value.shape().rank() >= 2, "group lasso: ", one->name, " ", one->value.shape().to_string(),
              " has no groups; give weights of two axes or more");
    }
  }
  void apply(const float* rate) const override {
    for (const Parameter* one : parameters_) {
      const Shape& shape = one->value.shape();
      const bool filters = groups_ == LassoGroups::filters;
      const std::int64_t batch = filters ? 1 : shape[0], channels = filters ? shape[0] : shape[1];
      kernels::proximal_group_lasso({.batch = batch, .channels = channels, .area = one->size() / (batch * channels)},
                                    rate, strength_, one->value.value().data<float>(), current_stream());
    }
  }

 private:
  std::vector<Parameter*> parameters_;
  float strength_;
  LassoGroups groups_;
};

}  // namespace

std::unique_ptr<Regularizer> l1_penalty(std::vector<Parameter*> parameters, float strength) {
  return std::make_unique<L1>(std::move(parameters), strength);
}

std::unique_ptr<Regularizer> l2_penalty(std::vector<Parameter*> parameters, float strength) {
  return std::make_unique<L2>(std::move(parameters), strength);
}

std::unique_ptr<Regularizer> group_lasso(std::vector<Parameter*> parameters, float strength, LassoGroups groups) {
  return std::make_unique<GroupLasso>(std::move(parameters), strength, groups);
}

std::unique_ptr<Regularizer> batch_norm_penalty(Module& model, float strength) {
  std::vector<Parameter*> scales;
  for (Parameter* parameter : model.parameters()) {
    const bool of_batch_norm = parameter->name.find("batch_norm") != std::string::npos;
    if (of_batch_norm && parameter->name.ends_with(".gamma")) scales.push_back(parameter);
  }
  require(!scales.empty(), "batch-norm penalty: the model has no batch norm; penalise groups of weights instead");
  return l1_penalty(std::move(scales), strength);
}

}  // namespace espalier::pruning
