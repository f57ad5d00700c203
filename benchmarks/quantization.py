"""Every format of several runs, side by side: accuracy, agreement, sizes, latency, and what the plain recipes give.

    python benchmarks/quantization.py artifacts/flowers-0 artifacts/flowers-1 artifacts/flowers-2

Each run (a folder that ``tledge build`` wrote) is exported to every format by ``tledge export``, one format after another
in processes of their own (formats that are made of one training in one process), and answered on its test split. Beside
them stand the int8 of TFLiteConverter and of ``quantize_static`` as their documentation writes them, from the same
representative photos (plain_int8.py). Latencies are of one photo and one thread; all artifacts of a run are timed in turns,
in one process.

It prints one JSON object, and a table of means over the runs on standard error. ``--with`` takes what it printed of other
runs or formats into the means, so that hours need not be one sitting; what is measured now stands in place of it. Exit
code 1 where a bar is missed: drop, agreement, size, and latency against the plain recipe.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plain_int8
from common import begun, project_environment, run_timed
from rich.table import Table

if TYPE_CHECKING:
    from tledge.exporters import Format

LOADS, ROUNDS, RUNS_A_ROUND = 8, 4, 10
PLAIN = {"plain tflite int8": ("model.tflite", plain_int8.tflite), "plain onnx int8": ("model.onnx", plain_int8.onnx)}
SLOWER = 1.05  # of a latency's ratio: less is what one measurement differs from the next by


@dataclass(frozen=True)
class Bar:
    """What a format must keep in the mean of all runs. ``against``: the format that its ratios are of.

    Latency is held against the plain recipe for the same runtime. The twin of an ONNX format is the TFLite one that was made
    from the same network.
    """

    max_drop_points: float
    min_agreement_percent: float = 0.0
    max_size_mb: float | None = None
    against: str = ""
    max_latency_ratio: float | None = None
    max_compressed_ratio: float | None = None
    max_difference_ratio: float | None = None
    min_agreement_with_twin_percent: float | None = None


BARS = {
    "tflite-int8": Bar(0.3, 98.5, 2.71, "plain tflite int8", SLOWER),
    "onnx-int8": Bar(0.3, 98.5, 2.62, "plain onnx int8", SLOWER),
    "tflite-int8-qat": Bar(0.1, 99.0, 2.71, "plain tflite int8", SLOWER, max_difference_ratio=0.5),
    "onnx-int8-qat": Bar(
        0.1, 99.0, 2.62, "plain onnx int8", SLOWER, max_difference_ratio=0.5, min_agreement_with_twin_percent=99.0
    ),
    "tflite-int8-pruned": Bar(1.0, against="tflite-int8", max_compressed_ratio=0.60),
    "tflite-int8-clustered": Bar(1.0, against="tflite-int8", max_compressed_ratio=0.40),
}


def measure(folder: Path, formats: Sequence[str], epochs: int | None) -> list[dict[str, Any]]:
    """A row for each format of one run, and for the plain recipes. ``epochs``: of those that train, None for their own."""
    from tledge import exporters
    from tledge.datasets.run_photos import load_split
    from tledge.exporters.representative import DEFAULT_SAMPLES, choose_representative
    from tledge.files import compressed_bytes
    from tledge.progress import Silent
    from tledge.run import open_run

    known = exporters.formats()
    at = ["--run", folder.name, "--artifacts", str(folder.parent)]
    seconds = {}
    for names in together([known[name] for name in formats]):
        trained = ["--epochs", str(epochs)] if epochs is not None and known[names[0]].is_trained else []
        asked = [word for name in names for word in ("--format", name)]
        command = [sys.executable, "-m", "tledge", "export", *asked, *at, *trained]
        taken_s = run_timed(command, project_environment()).wall_time_s
        seconds |= dict.fromkeys(names, taken_s)
    run = open_run(folder.parent, folder.name)
    files = {name: run.export_folder(name) / run.export_record(name).file for name in formats}
    train = load_split(run, "train", Silent())
    photos = train.pixels[choose_representative(train.content_sha256, train.labels, DEFAULT_SAMPLES, run.manifest.seed)]
    models = {name: (path.name, path.read_bytes()) for name, path in files.items()}
    for name, (file, recipe) in PLAIN.items():
        started = time.perf_counter()
        models[name] = file, recipe(folder / "model", photos)
        seconds[name] = time.perf_counter() - started
    test = load_split(run, "test", Silent())
    with np.load(folder / "reference.npz") as stored:
        original = _probabilities(stored["logits"])
    sessions = {name: _session(*model) for name, model in models.items()}
    latencies = _latencies(models, test.pixels[:1])
    answers = {
        name: np.stack([predict(test.pixels[number][None]) for number in range(len(test.pixels))])
        for name, predict in sessions.items()
    }
    rows = []
    for name in sessions:
        size, twin = len(models[name][1]), answers.get(twin_of(name))
        kind = next(recipe for recipe, (file, _) in PLAIN.items() if Path(file).suffix == Path(models[name][0]).suffix)
        rows.append(
            {
                "run": folder.name,
                "format": name,
                **_drift(answers[name], original, test.labels),
                "agreement_with_twin_percent": (
                    math.nan if twin is None else 100 * float(np.mean(answers[name].argmax(1) == twin.argmax(1)))
                ),
                "size_mb": size / 1e6,
                "compressed_mb": compressed_bytes(models[name][1]) / 1e6,
                "p50_ms": latencies[name],
                "p50_over_plain": latencies[name] / latencies[kind],
                "export_s": seconds[name],
            }
        )
    return rows


def twin_of(name: str) -> str:
    """Of an ONNX format, the TFLite one of the same name; any other is its own."""
    return name.replace("onnx-", "tflite-")


def together(formats: Sequence[Format]) -> list[list[str]]:
    """Names of formats that one command exports: each by itself, but what is made of one training together."""
    groups: dict[str, list[str]] = {}
    for form in formats:
        groups.setdefault(form.preparation.name if form.preparation and form.is_trained else form.name, []).append(
            form.name
        )
    return list(groups.values())


def _session(file: str, model: bytes) -> Any:
    """A function of one photo, uint8 (1, S, S, 3), to float32 (C,). The plain ONNX recipe takes floats."""
    from tledge.runtimes import runtimes_for

    if file.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        kind = np.float32 if taken.type == "tensor(float)" else np.uint8
        return lambda photo: session.run(None, {taken.name: photo.astype(kind)})[0][0]
    return runtimes_for(Path(file))[0].load(model, 1).predict


def _latencies(models: Mapping[str, tuple[str, bytes]], photo: Any) -> dict[str, float]:
    """The median of one photo's time, in ms; all models in turns, so that what slows the machine slows all.

    They are loaded several times: where a load's tensors happen to lie makes up to a tenth for as long as it lives.
    """
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(LOADS):
        sessions = {name: _session(*model) for name, model in models.items()}
        for number in range(ROUNDS + 1):
            for name, predict in sessions.items():
                for _ in range(RUNS_A_ROUND):
                    started = time.perf_counter()
                    predict(photo)
                    if number:  # the first round warms up
                        found[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def _probabilities(logits: Any) -> Any:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def _drift(answers: Any, original: Any, labels: Any) -> dict[str, float]:
    right, was_right = (values.argmax(axis=1) == labels for values in (answers, original))
    differences = np.abs(answers - original)
    return {
        "accuracy_percent": 100 * float(right.mean()),
        "drop_points": 100 * float(was_right.mean() - right.mean()),
        "agreement_percent": 100 * float(np.mean(answers.argmax(axis=1) == original.argmax(axis=1))),
        "mean_abs_probability_difference": float(differences.mean()),
        "max_abs_probability_difference": float(differences.max()),
    }


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of every figure over the runs, by format; the largest difference is the largest of all."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted({row["format"] for row in rows}, key=_place):
        mine = [row for row in rows if row["format"] == name]
        found[name] = {
            figure: (max if figure.startswith("max_") else statistics.mean)([row[figure] for row in mine])
            for figure in mine[0]
            if figure not in ("run", "format")
        }
        found[name]["num_runs"] = len(mine)
    return found


def _place(name: str) -> tuple[bool, int]:
    """Formats in their own order, and then the plain recipes."""
    from tledge.exporters import formats

    return name in PLAIN, list(PLAIN if name in PLAIN else formats()).index(name)


def missed(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """In what a format misses its bar, a sentence each."""
    sentences = []
    for name, bar in BARS.items():
        row, other = found.get(name), found.get(bar.against)
        if row is None:
            continue
        limits = [
            ("drop in points", row["drop_points"], bar.max_drop_points),
            ("disagreement in percent", 100 - row["agreement_percent"], 100 - bar.min_agreement_percent),
            ("size in MB", row["size_mb"], bar.max_size_mb),
        ]
        if bar.max_latency_ratio is not None:
            limits.append(("latency over the plain recipe's", row["p50_over_plain"], bar.max_latency_ratio))
        if bar.min_agreement_with_twin_percent is not None:
            apart, most = 100 - row["agreement_with_twin_percent"], 100 - bar.min_agreement_with_twin_percent
            limits.append(("disagreement with its twin in percent", apart, most))
        for words, figure, limit in (
            ("compressed size", "compressed_mb", bar.max_compressed_ratio),
            ("mean difference of probabilities", "mean_abs_probability_difference", bar.max_difference_ratio),
        ):
            if limit is not None:
                ratio = row[figure] / other[figure] if other and other["num_runs"] == row["num_runs"] else math.nan
                limits.append((f"{words} over that of {bar.against}", ratio, limit))
        # Negated, because NaN keeps no bar.
        sentences += [
            f"{name}: {words} is {value:.3f}, over {limit:g}"
            for words, value, limit in limits
            if limit is not None and not value <= limit
        ]
    return sentences


def table(found: Mapping[str, Mapping[str, float]], num_runs: int) -> Table:
    """One line a format."""
    shown = Table(title=f"means of {num_runs} runs", box=None, header_style="bold")
    shown.add_column("format")
    columns = {
        "accuracy %": ("accuracy_percent", ".2f"),
        "drop": ("drop_points", "+.2f"),
        "agreement %": ("agreement_percent", ".2f"),
        "mean dp": ("mean_abs_probability_difference", ".4f"),
        "largest dp": ("max_abs_probability_difference", ".2f"),
        "MB": ("size_mb", ".3f"),
        "compressed": ("compressed_mb", ".3f"),
        "p50 ms": ("p50_ms", ".2f"),
        "export s": ("export_s", ".0f"),
        "runs": ("num_runs", "d"),
    }
    for title in columns:
        shown.add_column(title, justify="right")
    for name, row in found.items():
        shown.add_row(name, *(format(row[figure], shape) for figure, shape in columns.values()))
    return shown


def main() -> None:
    from tledge.exporters import formats

    parser = argparse.ArgumentParser(description="Every format of several runs, side by side.")
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs, built with as many seeds")
    parser.add_argument("--formats", nargs="+", choices=list(formats()), default=list(formats()), metavar="FORMAT")
    parser.add_argument("--epochs", type=int, help="of formats that train; default: their own")
    parser.add_argument("--with", nargs="+", type=Path, default=[], metavar="FILE", dest="earlier",
                        help="what this program printed of other runs or formats")  # fmt: skip
    options = parser.parse_args()
    measured = [run.resolve().name for run in options.runs]
    if len(set(measured)) < len(measured):
        parser.error("name runs that have different names")
    if not options.runs and not options.earlier:
        parser.error("name at least one run, or files by --with")
    console, load = begun()
    # What a bar is relative to is measured too.
    bars = {name: BARS[name] for name in options.formats if name in BARS}
    twins = [twin_of(name) for name, bar in bars.items() if bar.min_agreement_with_twin_percent is not None]
    others = [name for name in (*(bar.against for bar in bars.values()), *twins) if name in formats()]
    names = list(dict.fromkeys([*options.formats, *others]))
    earlier = [row for path in options.earlier for row in json.loads(path.read_text())["rows"]]
    now = [row for run in options.runs for row in measure(run.resolve(), names, options.epochs)]
    rows = list({(row["run"], row["format"]): row for row in (*earlier, *now)}.values())
    found = means(rows)
    console.print(table(found, len({row["run"] for row in rows})))
    sentences = missed(found)
    for sentence in sentences:
        console.print(sentence, markup=False, soft_wrap=True)
    from tledge.machine import this_machine

    machine = this_machine().as_json()
    result = {"machine": machine, "load_average_before": load, "rows": rows, "means": found, "missed": sentences}
    print(json.dumps(result, indent=2))
    sys.exit(bool(sentences))


if __name__ == "__main__":
    main()
