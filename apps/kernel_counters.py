#!/usr/bin/env python3
"""Collects a PTX emulator's counters for cases of benchmark_kernels, one process each, into one file.

    LD_LIBRARY_PATH=... python3 apps/kernel_counters.py FILE build/cuda-emulated/apps/benchmark_kernels FILTER...
    build/cpu/apps/benchmark_kernels --counters FILE

FILTER chooses cases as --filter does. Each case runs once; what preparing its operands counted is subtracted. The
emulator writes its counters to the file that EMUGPU_PROFILE names.
"""
import json
import os
import subprocess
import sys
import tempfile


def listed(program, words):
    command = [program, "--list", "--filter", words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def profile(program, name, runs):
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "counters.json")
        subprocess.run([program, "--filter", name, "--runs", str(runs)], check=True,
                       env=dict(os.environ, EMUGPU_PROFILE=file))
        if not os.path.exists(file):  # nothing was launched
            return {}
        with open(file) as stream:
            kernels = json.load(stream)["kernels"]
    return {(k["name"], tuple(k["grid"]), tuple(k["block"])): k for k in kernels}


def less(one, other):
    """Counts of `one` minus those of `other`; what is no count (names, sizes, averages) stays."""
    result = {}
    for key, value in one.items():
        if isinstance(value, dict):
            result[key] = less(value, other[key])
        elif isinstance(value, (int, float)) and key not in ("dynamic_shared_bytes", "average_active_lanes"):
            result[key] = value - other[key]
        else:
            result[key] = value
    return result


def counted(program, name):
    before, after = profile(program, name, 0), profile(program, name, 1)
    kernels = [less(k, before[key]) if key in before else k for key, k in after.items()]
    return {"name": name, "kernels": [k for k in kernels if k["launches"] > 0]}


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    file, program, filters = sys.argv[1], sys.argv[2], sys.argv[3:]
    cases = []
    for name in (name for words in filters for name in listed(program, words)):
        print(name, file=sys.stderr)
        cases.append(counted(program, name))
    with open(file, "w") as stream:
        json.dump({"cases": cases}, stream, indent=1)


if __name__ == "__main__":
    main()
