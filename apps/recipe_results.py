#!/usr/bin/env python3
"""Keeps the figures of recipes: what `espalier compare` has measured, as JSON and as a table.

    build/cpu/espalier compare lenet300-record --data-dir DIR --run-dir runs/records
    python3 apps/recipe_results.py runs/records/report.json

puts each recipe of the reports in the place of its older figures in apps/recipes/results/records.json, and writes
records.md there from all of them: error and compression with the 95 % interval of the mean, and what is left of each
layer.
"""
import json
import pathlib
import sys

AIMS = {"lenet5-record": (0.0080, 280), "lenet300-record": (0.0170, 60)}  # error at most, times fewer at least
FOLDER = pathlib.Path(__file__).resolve().parent / "recipes" / "results"


def condensed(recipe, report):
    runs = recipe["runs"]
    of_runs = [run["layers"]["layers"] for run in runs]
    layers = [{"name": layer["name"], "total": layer["total"], "kept": [of_run[i]["kept"] for of_run in of_runs]}
              for i, layer in enumerate(of_runs[0])]
    before, left = sum(layer["total"] for layer in layers), recipe["weights_kept"]
    if "shrunk" in runs[-1]:
        small = [run["shrunk"]["layers"] for run in runs]
        layers = [{"name": layer["layer"] + " (channels)", "total": layer["before"],
                   "kept": [of_run[i]["after"] for of_run in small]} for i, layer in enumerate(small[0])]
    if "branches" in runs[-1]:  # layers that fell are not among the layers
        before, left = runs[-1]["branches"]["parameters_before"], recipe["parameters_kept"]
    options = {key: report[key] for key in ("train_epochs", "tune_epochs") if key in report}
    epochs = [run["epochs"] for run in runs if "epochs" in run]
    return {"summary": recipe["summary"],
            "seeds": recipe["seeds"],
            "error": 1 - recipe["test_accuracy"],
            "error_interval": recipe["interval"] if recipe["seeds"] > 1 else None,
            "dense_error": 1 - recipe["dense_accuracy"],
            "errors": [1 - run["test_accuracy"] for run in runs],
            "compression": before / left,
            "weights_kept": recipe["weights_kept"],
            "parameters_kept": recipe["parameters_kept"],
            "macs_kept": recipe["macs_kept"],
            "bytes": recipe["bytes"],
            "fine_tuning_seconds": [run["training_seconds"] for run in runs],
            "device": report["device"],
            "layers": layers} | ({"epochs": epochs} if epochs else {}) | ({"options": options} if options else {})


def percent(value):
    return f"{100 * value:.2f} %"


def command(name, result):
    epochs = "".join(f" --{key.replace('_', '-')} {value}" for key, value in result.get("options", {}).items())
    return f"    build/cpu/espalier compare {name} --seeds {result['seeds']}{epochs} --run-dir runs/{name}"


def read(name):
    """The recipes of a report of `espalier compare`, condensed."""
    try:
        report = json.loads(pathlib.Path(name).read_text())
        return {recipe["recipe"]: condensed(recipe, report) for recipe in report["recipes"]}
    except OSError as error:
        sys.exit(f"{name}: {error.strerror}; give the report.json of a run of espalier compare")
    except (ValueError, LookupError, TypeError) as error:
        sys.exit(f"{name}: no report of espalier compare ({error!r})")


def table(results):
    lines = ["# What the recipes reach", "",
             "Test error on MNIST, mean over the seeds with the 95 % interval of the mean where there are several;",
             "weights of products are counted, biases not (where branches fall, \"fewer\" is of all parameters).",
             "Made by `espalier compare` and `apps/recipe_results.py`; the error of each seed is in",
             "`records.json`. The settings of the two records, and the strengths of admm-, growing- and",
             "hard-concrete-95 were tried out on seed 1 by its error, which flatters it.",
             "An aim is missed where the error stands above it. Times are those of one thread beside other work.", "",
             "| recipe | seeds | error | aim | dense error | weights left | fewer | MACs left | fine-tuning, a seed |",
             "|---|---:|---:|---|---:|---:|---:|---:|---:|"]
    for name, one in sorted(results.items()):
        interval = "" if one["error_interval"] is None else f" ± {100 * one['error_interval']:.2f}"
        seconds = sum(one["fine_tuning_seconds"]) / len(one["fine_tuning_seconds"])
        aim = f"{percent(AIMS[name][0])} at {AIMS[name][1]}x" if name in AIMS else ""
        lines.append(f"| {name} | {one['seeds']} | {percent(one['error'])}{interval} | {aim} |"
                     f" {percent(one['dense_error'])} |"
                     f" {one['weights_kept']} | {one['compression']:.3f}x | {one['macs_kept']} | {seconds:.0f} s |")
    for name, one in sorted(results.items()):
        lines += ["", f"{name}: {one['summary']}", "", "| layer | had | left, by seed |", "|---|---:|---:|"]
        lines += [f"| {layer['name']} | {layer['total']} | {', '.join(map(str, layer['kept']))} |"
                  for layer in one["layers"]]
    lines += ["", "Commands:", ""] + [command(name, one) for name, one in sorted(results.items())]
    lines += ["    python3 apps/recipe_results.py runs/*/report.json"]
    return "\n".join(lines) + "\n"


def updated(file, read_report, usage):
    """What a file of results holds, with what the reports of the command line say in the place of its older figures."""
    if len(sys.argv) < 2:
        sys.exit(usage)
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in sys.argv[1:]:
        results.update(read_report(name))
    return results


def main():
    file = FOLDER / "records.json"
    results = updated(file, read, __doc__)
    rows = [f'"{name}": {json.dumps(one, sort_keys=True)}' for name, one in sorted(results.items())]
    file.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    (FOLDER / "records.md").write_text(table(results))


if __name__ == "__main__":
    main()
