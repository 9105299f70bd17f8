// Every layer and loss: the one include of a program that builds models. A new layer adds its line here.
#pragma once
#include "layers/activation.h"
#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/conv_pool.h"
#include "layers/dense.h"
#include "layers/dropout.h"
#include "layers/flatten.h"
#include "layers/layer_norm.h"
#include "layers/loss.h"
#include "layers/pool2d.h"
#include "layers/residual.h"
#include "layers/sequential.h"
