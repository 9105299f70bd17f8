#!/usr/bin/env python3
"""Writes the golden tensors beside this file: what PyTorch computes for Espalier's layers, losses and optimizers.

    apt-get install python3-torch && /usr/bin/python3 tests/golden/make_golden.py

PyTorch starts from float32 values and computes in double, so a golden value carries no rounding but its last. Each file
is a safetensors container (8-byte length, JSON header, raw little-endian floats): tensors are named "case/tensor", and
the header's "__metadata__" holds one JSON text of attributes per case. "dy" is the gradient handed to backward.
The committed files were made with PyTorch 1.13; a run with another version may differ in the last digits.
"""
import json
import pathlib
import struct

import torch
from torch import nn
from torch.nn import functional as F

FOLDER = pathlib.Path(__file__).parent


class File:
    """Collects tensors and the attributes of their cases."""

    def __init__(self, name):
        self.name, self.tensors, self.attributes = name, {}, {}

    def case(self, name, tensors, **attributes):
        self.attributes[name] = json.dumps(attributes)
        for key, value in tensors.items():
            self.tensors[f"{name}/{key}"] = value.detach().to(torch.float32).contiguous()

    def write(self):
        header, raw = {"__metadata__": self.attributes}, b""
        for key, value in self.tensors.items():
            data = value.numpy().tobytes()
            header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(raw), len(raw) + len(data)]}
            raw += data
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (FOLDER / f"{self.name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw)


def random(*shape, scale=1.0):
    """Values that float32 holds exactly, as double."""
    return (scale * torch.randn(*shape)).to(torch.float32).to(torch.float64)


def leaf(*shape, scale=1.0):
    return random(*shape, scale=scale).requires_grad_()


def differentiate(function, **inputs):
    """The inputs, y, dy and the gradient of every input, called d + its name."""
    y = function(**inputs)
    dy = random(*y.shape)
    y.backward(dy)
    return {**inputs, "y": y, "dy": dy, **{f"d{name}": value.grad for name, value in inputs.items()}}


def conv2d():
    file = File("conv2d")
    for name, (n, c, h, w), (k, kh, kw), options in [
            ("plain", (2, 3, 7, 6), (4, 3, 3), {}),
            ("padded", (2, 3, 5, 7), (5, 3, 3), {"padding": 1}),
            ("strided", (2, 2, 9, 8), (3, 3, 3), {"stride": 2}),
            ("strided and padded", (1, 3, 8, 9), (4, 5, 5), {"stride": 2, "padding": 2}),
            ("dilated", (2, 2, 9, 9), (3, 3, 3), {"dilation": 2, "padding": 1}),
            ("grouped", (2, 4, 6, 6), (6, 3, 3), {"groups": 2, "padding": 1}),
            ("depthwise", (1, 4, 6, 5), (4, 3, 3), {"groups": 4, "padding": 1}),
            ("everything", (2, 4, 11, 10), (6, 3, 3), {"stride": 3, "padding": 2, "dilation": 2, "groups": 2}),
            ("pointwise", (2, 5, 3, 4), (7, 1, 1), {}),
            ("wide window", (1, 2, 6, 7), (3, 2, 5), {})]:
        settings = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
        file.case(name, differentiate(lambda x, w, b: F.conv2d(x, w, b, **settings), x=leaf(n, c, h, w),
                                      w=leaf(k, c // settings["groups"], kh, kw, scale=0.3), b=leaf(k)), **settings)
    file.write()


def dense():
    file = File("dense")
    for name, (n, i, o) in {"odd": (5, 7, 3), "wide": (3, 33, 17), "single": (1, 1, 1)}.items():
        file.case(name, differentiate(lambda x, w, b: F.linear(x, w, b), x=leaf(n, i), w=leaf(o, i), b=leaf(o)))
    file.write()


def pool2d():
    file = File("pool2d")
    for name, window, stride, padding in [("even", 2, 2, 0), ("overlapping", 3, 2, 1), ("dense", 3, 1, 1),
                                          ("gaps", 2, 3, 0)]:
        settings = {"window": window, "stride": stride, "padding": padding}
        file.case(f"max {name}", differentiate(lambda x: F.max_pool2d(x, window, stride, padding), x=leaf(2, 3, 7, 8)),
                  **settings)
        for count in [0, 1]:
            file.case(f"average {name} {'counting padding' if count else 'inside only'}",
                      differentiate(lambda x: F.avg_pool2d(x, window, stride, padding, count_include_pad=bool(count)),
                                    x=leaf(2, 3, 7, 8)), count_padding=count, **settings)
    file.write()


def activation():
    file = File("activation")
    for name, function in {"relu": F.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.01), "gelu": F.gelu,
                           "sigmoid": torch.sigmoid, "tanh": torch.tanh}.items():
        file.case(name, differentiate(lambda x: function(x), x=leaf(4, 33, scale=2)))
    file.write()


def norm():
    file = File("norm")
    for name, shape in {"flat": (6, 5), "image": (3, 4, 5, 2)}.items():
        for training in [0, 1]:
            mean, variance = random(shape[1]), random(shape[1]).abs() + 0.5
            running = [mean.clone(), variance.clone()]
            tensors = differentiate(
                lambda x, gamma, beta: F.batch_norm(x, *running, gamma, beta, bool(training), 0.1, 1e-5),
                x=leaf(*shape), gamma=leaf(shape[1]), beta=leaf(shape[1]))
            file.case(f"batch_norm {name} {'training' if training else 'evaluation'}",
                      {**tensors, "mean": mean, "variance": variance, "mean_after": running[0],
                       "variance_after": running[1]}, training=training, momentum=0.1, epsilon=1e-5)
        file.case(f"layer_norm {name}",
                  differentiate(lambda x, gamma, beta: F.layer_norm(x, shape[1:], gamma, beta, 1e-5), x=leaf(*shape),
                                gamma=leaf(*shape[1:]), beta=leaf(*shape[1:])), epsilon=1e-5)
    file.write()


def cross_entropy():
    file = File("cross_entropy")
    for name, smoothing in {"plain": 0.0, "smoothed": 0.1}.items():
        logits, labels = leaf(7, 10, scale=3), torch.randint(0, 10, (7,))
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        loss.backward()
        file.case(name, {"logits": logits, "labels": labels, "loss": loss, "dlogits": logits.grad},
                  label_smoothing=smoothing)
    file.write()


def optimizer():
    file = File("optimizer")
    steps, shape = 6, (3, 5)
    for name, make, settings in [
            ("sgd", torch.optim.SGD, {"lr": 0.1}),
            ("sgd momentum", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
            ("sgd momentum weight decay", torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.01}),
            ("sgd nesterov", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
            ("adam", torch.optim.Adam, {"lr": 0.01}),
            ("adam weight decay", torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1}),
            ("adamw", torch.optim.AdamW, {"lr": 0.02, "weight_decay": 0.1})]:
        weight = leaf(*shape)
        tensors, optimizer = {"initial": weight.clone(), "gradients": random(steps, *shape)}, make([weight], **settings)
        trajectory = []
        for step in range(steps):
            weight.grad = tensors["gradients"][step].clone()
            optimizer.step()
            trajectory.append(weight.detach().clone())
        beta1, beta2 = settings.get("betas", (0.9, 0.999))
        file.case(name, {**tensors, "trajectory": torch.stack(trajectory)}, kind=name.split()[0], steps=steps,
                  learning_rate=settings["lr"], momentum=settings.get("momentum", 0.0), beta1=beta1, beta2=beta2,
                  epsilon=1e-8, weight_decay=settings.get("weight_decay", 0.0), nesterov=int("nesterov" in settings))
    file.write()


def network():
    """A whole net: logits, loss, the gradient of every parameter, then the losses of a short training."""
    file = File("network")
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1),
                          nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 16), nn.ReLU(),
                          nn.Linear(16, 10)).to(torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.float32))
    x, labels = random(8, 1, 14, 14), torch.randint(0, 10, (8,))
    tensors = {"x": x, "labels": labels}
    tensors |= {f"initial {i}": parameter.detach().clone() for i, parameter in enumerate(model.parameters())}
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
    for step in range(5):
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        if step == 0:
            tensors |= {"logits": logits, "loss": loss.detach()}
            tensors |= {f"gradient {i}": parameter.grad.clone() for i, parameter in enumerate(model.parameters())}
        losses.append(loss.detach())
        optimizer.step()
    tensors |= {f"trained {i}": parameter for i, parameter in enumerate(model.parameters())}
    file.case("small", {**tensors, "losses": torch.stack(losses)}, learning_rate=0.05, momentum=0.9, steps=5)
    file.write()


if __name__ == "__main__":
    for make in [conv2d, dense, pool2d, activation, norm, cross_entropy, optimizer, network]:
        torch.manual_seed(1)
        make()
