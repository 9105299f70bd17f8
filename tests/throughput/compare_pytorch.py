#!/usr/bin/env python3
"""Training throughput of Espalier's cpu build against PyTorch on the same two cores.

    apt-get install python3-torch && ./run build && /usr/bin/python3 tests/throughput/compare_pytorch.py

The two take turns (--rounds times, so that a slower minute of the machine hits both) at batch 128: gathering a shuffled
batch from uint8 images, normalising, forward, backward and the SGD step with momentum. The ratio is between medians.
OpenBLAS gets one thread under PyTorch, which brings two of its own; variables that force an OpenBLAS kernel are unset.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BINARY = HERE.parent.parent / "build" / "cpu" / "espalier"


def output_of(command, threads):
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS")}
    result = subprocess.run(command, env={**environment, **threads}, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout)


def pytorch(model, arguments):
    command = [sys.executable, HERE / "pytorch_train.py", model, "--batch", str(arguments.batch)]
    return output_of(command, {"OPENBLAS_NUM_THREADS": "1"})["images_per_second"]


def espalier(model, math, arguments):
    command = [arguments.binary, "train", "--model", model, "--math", math, "--batch", str(arguments.batch),
               "--optimizer", "sgd", "--epochs", "1", "--samples", "20000", "--json"]
    return output_of(command, {})["images_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["seed-cnn", "lenet-5"])
    parser.add_argument("--math", nargs="+", default=["handwritten", "vendor"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--binary", default=BINARY)
    arguments = parser.parse_args()
    print(f"{'model':10} {'by':22} {'images/s':>9} {'ratio':>6}  rounds")
    for model in arguments.models:
        speeds = {"pytorch": [], **{math: [] for math in arguments.math}}
        for _ in range(arguments.rounds):
            for name, list_of in speeds.items():
                list_of.append(pytorch(model, arguments) if name == "pytorch" else espalier(model, name, arguments))
        base = statistics.median(speeds["pytorch"])
        for name, values in speeds.items():
            middle = statistics.median(values)
            title = "PyTorch" if name == "pytorch" else f"Espalier, {name}"
            print(f"{model:10} {title:22} {middle:9.0f} {middle / base:6.2f}  {' '.join(f'{v:.0f}' for v in values)}")


if __name__ == "__main__":
    main()
