#!/usr/bin/env python3
"""Keeps error against weights left: what `espalier compare --sparsities` has measured, as JSON, table and picture.

    build/cpu/espalier compare lenet300-record --sparsities 0.95 0.99 --seeds 1 --run-dir runs/lenet300-record-curve
    python3 apps/recipe_curves.py runs/*-curve/report.json

puts each recipe of the reports in the place of its older points in apps/recipes/results/curves.json, and writes
curves.md and curves.svg there from all of them.
"""
import json
import math
import sys

from recipe_results import AIMS, FOLDER, percent, read, updated

COLOURS = ["#1b6ca8", "#c8553d", "#3a7d44", "#6b4e71"]
LEFT, TOP, WIDTH, HEIGHT = 60, 30, 560, 320  # of the plot, in pixels


def curves_of(name):
    """The points of a report, by the recipe that they vary."""
    curves = {}
    for varied, result in read(name).items():
        recipe, _, sparsity = varied.rpartition("-")
        try:
            float(sparsity)
        except ValueError:
            sys.exit(f"{name}: {varied} is no recipe at another sparsity; give a run with --sparsities")
        curves.setdefault(recipe, []).append({"sparsity": sparsity} | result)
    for points in curves.values():
        points.sort(key=lambda point: point["compression"])
    return curves


def svg(curves):
    fewer = [point["compression"] for points in curves.values() for point in points]
    worst = max(point["error"] for points in curves.values() for point in points)
    low, high = math.log(min(fewer) / 1.2), math.log(max(fewer) * 1.2)
    top = math.ceil(100 * worst * 2) / 200

    def at(compression, error):
        return (LEFT + WIDTH * (math.log(compression) - low) / (high - low), TOP + HEIGHT * (1 - error / top))

    text = 'font-family="sans-serif" font-size="12"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{TOP + HEIGHT + 50}">',
             '<rect width="100%" height="100%" fill="white"/>']
    for tick in range(int(200 * top) + 1):
        y = at(fewer[0], tick / 200)[1]
        lines += [f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>',
                  f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {text}>{tick / 2:g} %</text>']
    for tick in (20, 40, 60, 100, 150, 280, 350, 500):
        x = at(tick, 0)[0]
        if LEFT <= x <= LEFT + WIDTH:
            lines += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + HEIGHT}" stroke="#ddd"/>',
                      f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle" {text}>{tick}x</text>']
    lines += [f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle" {text}>fewer weights</text>',
              f'<text x="{LEFT}" y="{TOP - 10}" {text}>test error on MNIST</text>']
    for colour, (name, points) in zip(COLOURS, sorted(curves.items())):
        places = [at(point["compression"], point["error"]) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        x, y = places[0]
        lines.append(f'<text x="{x + 8:.1f}" y="{y - 10:.1f}" fill="{colour}" {text}>{name}</text>')
        if name in AIMS:
            x, y = at(AIMS[name][1], AIMS[name][0])
            lines.append(f'<path d="M{x - 6:.1f} {y:.1f}h12M{x:.1f} {y - 6:.1f}v12" stroke="{colour}" stroke-width="2">'
                         f'<title>aim of {name}</title></path>')
    return "\n".join(lines + ["</svg>"]) + "\n"


def command(name, points):
    sparsities = " ".join(point["sparsity"] for point in points)
    seeds, epochs = points[0]["seeds"], points[0]["epochs"][0]
    return (f"    build/cpu/espalier compare {name} --seeds {seeds} --tune-epochs {epochs} \\\n"
            f"      --sparsities {sparsities} --run-dir runs/{name}-curve")


def table(curves):
    lines = ["# Error against weights left", "",
             "The record recipes at other sparsities, test error on MNIST; weights of products are counted, biases",
             "not. Fine-tuning has the epochs that are named, which may be fewer than the records' own (records.md).",
             "A cross in the picture is an aim. Where there is one seed, it is seed 1, on whose test error the",
             "recipes' settings were chosen. Made by `espalier compare` and `apps/recipe_curves.py`.", "",
             "![error against weights](curves.svg)"]
    for name, points in sorted(curves.items()):
        seeds, epochs = points[0]["seeds"], points[0]["epochs"][0]
        lines += ["", f"{name}, {seeds} seed{'s' if seeds > 1 else ''}, {epochs} epochs of fine-tuning; "
                  f"dense {percent(points[0]['dense_error'])}", "",
                  "| fewer | weights left | error | by layer |", "|---:|---:|---:|---|"]
        for point in points:
            layers = ", ".join(f"{layer['name'].removesuffix('.weight')} {layer['kept'][0]}"
                               for layer in point["layers"])
            lines.append(f"| {point['compression']:.1f}x | {point['weights_kept']} | {percent(point['error'])} |"
                         f" {layers} |")
    lines += ["", "Commands:", ""] + [command(name, points) for name, points in sorted(curves.items())]
    lines += ["    python3 apps/recipe_curves.py runs/*-curve/report.json"]
    return "\n".join(lines) + "\n"


def one_line_a_point(curves):
    rows = [f'"{name}": [\n ' + ",\n ".join(json.dumps(point, sort_keys=True) for point in points) + "\n]"
            for name, points in sorted(curves.items())]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main():
    file = FOLDER / "curves.json"
    curves = updated(file, curves_of, __doc__)
    file.write_text(one_line_a_point(curves))
    (FOLDER / "curves.md").write_text(table(curves))
    (FOLDER / "curves.svg").write_text(svg(curves))


if __name__ == "__main__":
    main()
