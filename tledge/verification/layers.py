"""Where in the network an int8 artifact departs from its float32 one: the error of each layer's output."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from tledge.machine import usable_cores
from tledge.progress import Progress
from tledge.records import LayerError, LayerReport
from tledge.runtimes import runtimes_for
from tledge.runtimes.launch import WorkerFailed, WorkerProcess
from tledge.runtimes.layers import READERS
from tledge.runtimes.worker import Job
from tledge.verification.measure import Bench

NUM_PHOTOS = 16
_QUANTIZED, _FLOAT = "int8", "float32"
_PROGRAM = "tledge.runtimes.layers"
_RUNS_A_PHOTO = 4  # both artifacts for their layers, one in pieces, one for its answer


def layer_reports(
    artifacts: Mapping[str, Path], bench: Bench, progress: Progress, num_photos: int = NUM_PHOTOS
) -> list[LayerReport]:
    """One report for each ``FAMILY-int8`` among ``artifacts`` (format to file), against its ``FAMILY-float32``.

    It is made on at most ``num_photos`` of the bench's photos, at equal distances. Where it can't be made, it has no
    layers and its note tells why; nothing is raised.
    """
    wanted = [name for name in artifacts if name.endswith(f"-{_QUANTIZED}")]
    reports = []
    with progress.step("layers", len(wanted)) as advance:
        for name in wanted:
            other = f"{name.removesuffix(_QUANTIZED)}{_FLOAT}"
            reports += [
                _report(name, artifacts[name], other, artifacts.get(other), runtime.name, bench, num_photos)
                for runtime in runtimes_for(artifacts[name])
            ]
            advance(1)
    return reports


def _report(
    name: str, int8: Path, other: str, float32: Path | None, runtime: str, bench: Bench, num_photos: int
) -> LayerReport:
    """One artifact on one runtime."""
    report = LayerReport(
        artifact=f"{name} on {runtime}", against=f"{other} on {runtime}", num_photos=0, layers=[], note=""
    )
    if float32 is None:
        return report.model_copy(
            update={"note": f"There is no {other} to compare with: tledge export --format {other}, and verify it too."}
        )
    if runtime not in READERS:
        return report.model_copy(update={"note": f"The layers of {runtime} can't be read."})
    num_photos = min(num_photos, bench.num_photos)
    try:
        layers, note = compare(int8, float32, runtime, bench, num_photos)
    except WorkerFailed as failure:
        return report.model_copy(update={"note": f"The layers could not be compared: {failure}"})
    return report.model_copy(update={"layers": layers, "note": note, "num_photos": num_photos})


def compare(
    int8: Path, float32: Path, runtime: str, bench: Bench, num_photos: int = NUM_PHOTOS
) -> tuple[list[LayerError], str]:
    """The layers of ``int8`` against those of ``float32``, and a note on what was not compared.

    First those that add the largest error of their own, last those that add none; ties in the order of the network.
    Raises WorkerFailed where the process that runs the two files fails or takes too long.
    """
    job = Job(
        artifact=str(int8.resolve()),
        runtime=runtime,
        kernels="",
        num_threads=usable_cores(),
        cores=[],
        pixels=str(bench.pixels),
        num_photos=bench.num_photos,
        input_size=bench.input_size,
        outputs="",
    )
    timeout_s = bench.limits.start_s + _RUNS_A_PHOTO * num_photos * bench.limits.photo_s
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder, WorkerProcess(_PROGRAM, job, Path(folder)) as process:
        answer = process.call("compare", timeout_s, against=str(float32.resolve()), num_photos=num_photos)
    try:
        layers = [LayerError.model_validate(layer) for layer in answer["layers"]]
        note = " ".join(answer["notes"])
    except (ValidationError, KeyError, TypeError) as error:
        raise WorkerFailed("the process gave no readable answer") from error
    return sorted(layers, key=lambda layer: math.inf if layer.own_sqnr_db is None else layer.own_sqnr_db), note
