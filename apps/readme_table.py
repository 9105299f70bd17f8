#!/usr/bin/env python3
"""Puts the output of a command between two markers of the README.

    python3 apps/readme_table.py kernels build/cpu/apps/benchmark_kernels --filter "gemm: lenet-5"

replaces what stands between <!-- kernels --> and <!-- /kernels -->. The output is Markdown and names the device.
"""
import pathlib
import subprocess
import sys

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


def replaced(text, marker, body):
    begin, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    before, found, rest = text.partition(begin)
    old, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"{README}: no lines {begin.strip()} and {end}")
    return f"{before}{begin}{body.strip()}\n{end}{after}"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    marker, command = sys.argv[1], sys.argv[2:]
    body = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    README.write_text(replaced(README.read_text(), marker, body))


if __name__ == "__main__":
    main()
