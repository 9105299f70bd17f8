"""Trains one net of the zoo with PyTorch on the CPU and prints the throughput as JSON.

Counted is what ours counts too: gathering a shuffled batch from uint8 images, normalising it, forward,
backward and the SGD step with momentum. Not counted: start-up and `--warm-up` steps.
`--layers` adds the median forward and backward time of each layer.
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn

from pytorch_models import MODELS


def train(model, batch, steps, warm_up):
    images = torch.randint(0, 256, (60000, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (60000,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss = nn.CrossEntropyLoss()
    start = None
    for step in range(warm_up + steps):
        if step == warm_up:
            start = time.perf_counter()
        chosen = torch.randint(0, len(images), (batch,))
        x = (images[chosen].float() / 255 - 0.1307) / 0.3081
        optimizer.zero_grad()
        loss(model(x), labels[chosen]).backward()
        optimizer.step()
    return steps * batch / (time.perf_counter() - start)


def layer_times(model, batch, repeats=20):
    """Median [forward, backward] microseconds of each layer; the first layer needs no input gradient."""
    rows = []
    x = torch.rand(batch, 1, 28, 28)
    for index, layer in enumerate(model):
        forward, backward = [], []
        for _ in range(repeats):
            source = x.detach().requires_grad_(index > 0)
            start = time.perf_counter()
            y = layer(source)
            middle = time.perf_counter()
            if y.requires_grad:
                y.backward(torch.ones_like(y))
            forward.append(1e6 * (middle - start))
            backward.append(1e6 * (time.perf_counter() - middle))
        rows.append({"layer": str(layer), "forward_us": round(statistics.median(forward), 1),
                     "backward_us": round(statistics.median(backward), 1)})
        x = y.detach()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    model = MODELS[arguments.model]()
    result = {"model": arguments.model, "batch": arguments.batch, "torch": torch.__version__,
              "images_per_second": round(train(model, arguments.batch, arguments.steps, arguments.warm_up), 1)}
    if arguments.layers:
        result["layers"] = layer_times(model, arguments.batch)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
