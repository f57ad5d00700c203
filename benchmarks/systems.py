"""The systems that tledge is for, each from one command line: built, exported to every format, verified.

    python benchmarks/systems.py --rows lenet folder embed

Every row runs as a user runs it, each command in its own process, with an empty cache of the row's own; ``verify`` judges
by the budgets of the target ``cpu``. Data sets and the Hub module come from TFDS_DATA_DIR and TFHUB_CACHE_DIR or a network.
Keras' networks run on small data, VGG16 with random weights where --vgg16-weights gives none: that shows that commands
run, and no accuracy. Options after ``--`` go to every build.

It prints one JSON object, and a table on standard error. Exit code 1 where a row misses its bar: a command fails, accuracy is
below the row's, the build's peak memory is above the row's, a model answers otherwise once it is loaded again, or features
are not the network's own to 10^-5 of their range.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import begun, parsed, project_environment
from rich.table import Table

NUM_PHOTOS = 1500  # so that one changed answer of the test split is less than half a point
LAYER = "block_12_add"
MAX_DIFFERENCE = 1e-5
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # of getrusage's unit
_VGG16 = "--dataset {small} --backbone keras:VGG16 --image-size 32 --weights"


@dataclass(frozen=True)
class System:
    """One row. ``options``: of tledge build; ``least_percent``: of the test accuracy, None where it need only run.

    ``max_memory_gb``: of the build's peak, resident, 10^9 bytes; None where any will do.
    ``is_embedded``: features of the head's input and of ``LAYER`` are written too, and held against the network's own.
    """

    name: str
    options: str
    least_percent: float | None = None
    is_embedded: bool = False
    max_memory_gb: float | None = None


SYSTEMS = (
    System("cifar10", "--dataset cifar10 --head mlp:256 --recipe finetune", 92.0, max_memory_gb=4.0),
    System("folder", "--dataset {photos} --augment strong"),
    System("embed", "--dataset {photos}", is_embedded=True),
    System("alexnet", "--dataset mnist --backbone alexnet", 99.2),
    System("vgg16", f"{_VGG16} none"),
    System("vgg16-frozen", f"{_VGG16} {{weights}} --recipe head"),
    System("vgg16-finetuned", f"{_VGG16} {{weights}} --recipe finetune --unfreeze-from block5 --head mlp:128"),
    System("inception", "--dataset {small} --backbone keras:InceptionV3 --weights none --image-size 75"),
    System("lenet", "--dataset mnist --backbone lenet --learning-rate 2e-3 --dropout 0 --batch-size 32", 99.0),
)


@dataclass(frozen=True)
class Ended:
    """A process that ended. ``peak_memory_gb``: resident, 10^9 bytes, of its largest; ``said``: its last line on stderr."""

    exit_code: int
    wall_time_s: float
    peak_memory_gb: float
    said: str


def execute(arguments: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run ``tledge`` to its end."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "tledge", *arguments],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        # Not by RUSAGE_CHILDREN: that is the largest of all commands so far.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    peak_gb = round(usage.ru_maxrss * _MAXRSS_BYTES / 1e9, 2)
    return Ended(process.returncode, round(seconds, 1), peak_gb, lines[-1] if lines else "")


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function gives in a process of its own: TensorFlow in this one would count in every command's peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def write_photos(folder: Path) -> None:
    """The first photos of tf_flowers as JPEG files in class folders."""
    from tledge.datasets import open_source

    source = open_source("tf_flowers")
    for number, photo in enumerate(itertools.islice(source.photos(), NUM_PHOTOS)):
        path = folder / source.labels[photo.label] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.data)  # type: ignore[arg-type]


def write_random_vgg16(path: Path) -> None:
    """A VGG16 without its top, its weights as they were drawn."""
    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    import tf_keras

    tf_keras.applications.VGG16(include_top=False, weights=None).save_weights(str(path))


def embedding_differences(run: Path, photos: Path, features: Path, layer: Path) -> dict[str, float]:
    """The largest difference of written features, .parquet and .npy, from the backbone's own, in parts of their range."""
    import numpy as np
    from pyarrow import parquet

    from tledge.backbones import open_backbone
    from tledge.preprocessing import prepare_photo
    from tledge.tensorflow_setup import tensorflow

    tensorflow()
    import tf_keras

    recorded = json.loads((run / "manifest.json").read_text())["backbone"]
    backbone = open_backbone(recorded["handle"], recorded["input_size"])
    table = parquet.read_table(features)
    images = np.stack(
        [prepare_photo((photos / name).read_bytes(), backbone.input_size).pixels for name in table["id"].to_pylist()]
    )
    graph: Any = backbone.flat(images[:16]).graph
    upto = tf_keras.Model(graph.input, graph.get_layer(LAYER).output)
    written = {"features": np.stack(table["vector"].to_numpy()), LAYER: np.load(layer)}
    differences = {}
    for name, model in (("features", backbone.layer), (LAYER, upto)):
        batches = (images[start : start + 50].astype(np.float32) / 255 for start in range(0, len(images), 50))
        own = np.concatenate([np.reshape(model(batch, training=False), (len(batch), -1)) for batch in batches])
        differences[name] = float(np.abs(written[name] - own).max() / np.ptp(own))
    return differences


def measure(system: System, places: Mapping[str, str], root: Path, others: Sequence[str]) -> dict[str, Any]:
    """One row. ``places``: what stands for the names in its options; ``root``: the folder of its run."""
    run = ["--run", system.name, "--artifacts", str(root)]
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        features, layer = Path(folder, "features.parquet"), Path(folder, "layer.npy")
        commands = {
            "build": ["build", *(part.format(**places) for part in shlex.split(system.options)), *others, *run],
            "export": ["export", "--format", "all", *run],
            "verify": ["verify", *run],
        }
        if system.is_embedded:
            embed = ["embed", "--dataset", places["photos"], *run, "--out"]
            commands["embed .parquet"] = [*embed, str(features)]
            commands["embed .npy"] = [*embed, str(layer), "--layer", LAYER]
        environment = project_environment(TLEDGE_CACHE_DIR=str(Path(folder, "cache")))
        ended: dict[str, Ended] = {}
        for name, arguments in commands.items():
            ended[name] = execute(arguments, environment)
            if name == "build" and ended[name].exit_code:
                break
        differences = {}
        if system.is_embedded and not ended["build"].exit_code and features.exists() and layer.exists():
            differences = apart(embedding_differences, root / system.name, Path(places["photos"]), features, layer)
    row = {
        "row": system.name,
        "commands": [shlex.join(["tledge", *arguments]) for arguments in commands.values()],
        "exit_codes": {name: ended[name].exit_code if name in ended else None for name in commands},
        "wall_times_s": {name: one.wall_time_s for name, one in ended.items()},
        "build_peak_memory_gb": ended["build"].peak_memory_gb,
        "max_memory_gb": system.max_memory_gb,
        "least_percent": system.least_percent,
        **outcome(root / system.name),
        "embedding_differences": differences,
    }
    return {**row, "missed": missed(row, {name: one.said for name, one in ended.items()})}


def outcome(run: Path) -> dict[str, Any]:
    """From a run's records: ``metrics`` of the original, how it answers once it is loaded again, every gate that failed."""
    manifest, report = run / "manifest.json", run / "verification" / "report.json"
    found: dict[str, Any] = {"metrics": None, "reloaded": None, "failed_gates": []}
    if manifest.is_file():
        found["metrics"] = json.loads(manifest.read_text())["metrics"]["test"]
        del found["metrics"]["confusions"]
    if report.is_file():
        verified = json.loads(report.read_text())
        drift = verified["original"]["cpu_drift"]
        found["reloaded"] = {name: drift[name] for name in ("agreement", "max_abs_probability_difference")}
        found["failed_gates"] = [
            f"{row['format']} on {row['runtime']}, {check['name']}: {check['reason']}"
            for row in verified["rows"]
            for check in row["checks"]
            if check["verdict"] == "failed"
        ]
    return found


def missed(row: Mapping[str, Any], said: Mapping[str, str]) -> list[str]:
    """In what a row misses its bar, a sentence each. ``said``: the last line of each command."""
    # Each comparison is negated, because NaN keeps no bar.
    found = [f"{name} ended with exit code {code}: {said[name]}" for name, code in row["exit_codes"].items() if code]
    found += row["failed_gates"]
    metrics, least, again = row["metrics"], row["least_percent"], row["reloaded"]
    if metrics and least and not 100 * metrics["accuracy"] >= least:
        found.append(f"test accuracy is {metrics['accuracy']:.2%}, below {least:g}%")
    peak, most = row["build_peak_memory_gb"], row["max_memory_gb"]
    if most and not peak <= most:
        found.append(f"the build took {peak:g} GB of memory, over {most:g} GB")
    if again and not (again["agreement"] >= 1 and again["max_abs_probability_difference"] <= MAX_DIFFERENCE):
        found.append(f"the model does not answer as before once it is loaded again: {again}")
    return found + [
        f"{name}: up to {value:.1e} of the range away from the network's own activations"
        for name, value in row["embedding_differences"].items()
        if not value <= MAX_DIFFERENCE
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a row."""
    shown = Table(title="systems", box=None, header_style="bold")
    shown.add_column("row")
    for name in (
        "accuracy %",
        "at least",
        "macro F1",
        "build, export, verify",
        "wall s",
        "build, peak GB",
        "bar",
    ):
        shown.add_column(name, justify="right")
    for row in rows:
        metrics, codes = row["metrics"], list(row["exit_codes"].values())[:3]
        shown.add_row(
            row["row"],
            f"{100 * metrics['accuracy']:.2f}" if metrics else "",
            "runs" if row["least_percent"] is None else f"{row['least_percent']:g}",
            f"{metrics['f1_macro']:.4f}" if metrics else "",
            " ".join("-" if code is None else str(code) for code in codes),
            f"{sum(row['wall_times_s'].values()):.0f}",
            f"{row['build_peak_memory_gb']:.2f}",
            "missed" if row["missed"] else "met",
        )
    return shown


def main() -> None:
    names = {system.name: system for system in SYSTEMS}
    parser = argparse.ArgumentParser(description="Systems of one command line each, from data set to verdict.")
    parser.add_argument("--rows", nargs="+", choices=names, default=list(names), metavar="ROW", help=", ".join(names))
    parser.add_argument("--photos", type=Path, help=f"class folders; default: {NUM_PHOTOS} photos of tf_flowers")
    parser.add_argument("--small", metavar="DATASET", default="digits", help="for the networks of Keras")
    parser.add_argument("--vgg16-weights", help="imagenet, or an .h5 file; default: random ones")
    parser.add_argument("--artifacts", type=Path, help="keep the runs in this folder")
    options, others = parsed(parser)
    console, load = begun()
    wanted = [names[name] for name in options.rows]
    rows = []
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        photos = str(options.photos or Path(folder, "photos"))
        weights = options.vgg16_weights or str(Path(folder, "vgg16.h5"))
        places = {"photos": photos, "small": options.small, "weights": weights}
        filled = " ".join(system.options.format(**places) for system in wanted)
        if not options.photos and photos in filled:
            apart(write_photos, Path(photos))
        if not options.vgg16_weights and weights in filled:
            apart(write_random_vgg16, Path(weights))
        for system in wanted:
            rows.append(measure(system, places, options.artifacts or Path(folder, "artifacts"), others))
            for sentence in rows[-1]["missed"]:
                console.print(f"{system.name}: {sentence}", markup=False, soft_wrap=True)
    from tledge.machine import this_machine

    console.print(table(rows))
    print(json.dumps({"machine": this_machine().as_json(), "load_average_before": load, "rows": rows}, indent=2))
    sys.exit(any(row["missed"] for row in rows))


if __name__ == "__main__":
    main()
