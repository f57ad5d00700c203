"""This module measures, layer by layer, how far an int8 artifact is from the float32 artifact of its family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from tledge.bench.bench import Bench, Runnable
from tledge.progress import Progress
from tledge.records import LayerError, LayerReport
from tledge.runtimes import Runtime
from tledge.workers.process import WorkerFailed

NUM_PHOTOS = 16
_QUANTIZED, _FLOAT = "int8", "float32"
_PROGRAM = "tledge.workers.layer_comparison"
_RUNS_A_PHOTO = 4  # both artifacts run for their layers, the float32 one again in pieces, and one for its answer


def layer_reports(
    artifacts: Mapping[str, Path],
    usable: Sequence[Runtime],
    bench: Bench,
    progress: Progress,
    num_photos: int = NUM_PHOTOS,
) -> list[LayerReport]:
    """Compare the layers of each ``FAMILY-int8`` artifact with its ``FAMILY-float32``, on each usable runtime.

    ``artifacts`` maps formats to files. At most ``num_photos`` of the bench's photos are used, at equal distances. If a
    comparison can't be made, its report has no layers and its note tells why; nothing is raised.
    """
    wanted = [name for name in artifacts if name.endswith(f"-{_QUANTIZED}")]
    reports = []
    with progress.step("layers", len(wanted)) as advance:
        for name in wanted:
            other = f"{name.removesuffix(_QUANTIZED)}{_FLOAT}"
            reports += [
                _report(name, artifacts[name], other, artifacts.get(other), runtime, bench, num_photos)
                for runtime in usable
                if artifacts[name].suffix in runtime.suffixes
            ]
            advance(1)
    return reports


def _report(
    name: str, int8: Path, other: str, float32: Path | None, runtime: Runtime, bench: Bench, num_photos: int
) -> LayerReport:
    """Compare the layers of one int8 artifact on one runtime."""
    report = LayerReport(
        artifact=f"{name} on {runtime.name}", against=f"{other} on {runtime.name}", num_photos=0, layers=[], note=""
    )
    if float32 is None:
        return report.model_copy(
            update={"note": f"There is no {other} to compare with: tledge export --format {other}, and verify it too."}
        )
    if runtime.layers is None:
        return report.model_copy(update={"note": f"The layers of {runtime.name} can't be read."})
    num_photos = min(num_photos, bench.photos.num_photos)
    try:
        layers, note = compare_layers(int8, float32, runtime.name, bench, num_photos)
    except WorkerFailed as failure:
        return report.model_copy(update={"note": f"The layers could not be compared: {failure}"})
    return report.model_copy(update={"layers": layers, "note": note, "num_photos": num_photos})


def compare_layers(
    int8: Path, float32: Path, runtime: str, bench: Bench, num_photos: int = NUM_PHOTOS
) -> tuple[list[LayerError], str]:
    """Compare the layers of ``int8`` with those of ``float32``; return them with a note on what was not compared.

    The layer that adds the largest error of its own comes first, and layers that add none come last. Ties keep the
    order of the network. Raises WorkerFailed where the process that runs the two files fails or takes too long.
    """
    model = Runnable("layers", int8, runtime, program=_PROGRAM)
    timeout_s = bench.limits.start_s + _RUNS_A_PHOTO * num_photos * bench.limits.photo_s
    process = bench.start(model, bench.place.machine().logical_cores, [])
    try:
        with process:
            answer = process.call("compare", timeout_s, against=bench.place.put(float32), num_photos=num_photos)
    finally:
        bench.place.remove(process.job.outputs)  # every worker makes the file, though this one answers without it
    try:
        layers = [LayerError.model_validate(layer) for layer in answer["layers"]]
        note = " ".join(answer["notes"])
    except (ValidationError, KeyError, TypeError) as error:
        raise WorkerFailed("the process gave no readable answer") from error
    return sorted(layers, key=lambda layer: math.inf if layer.own_sqnr_db is None else layer.own_sqnr_db), note
