"""This module converts a run to artifacts, and audits each one before it is kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tledge._version import __version__
from tledge.audit import audit, require_promise
from tledge.backbones import is_address
from tledge.backbones.own_graph import errors_of
from tledge.errors import InputError, PromiseBroken, disk_full
from tledge.exporters.format import ONE_PHOTO, ConverterInput, Format
from tledge.exporters.known_formats import chosen, formats, require_batch, require_readers
from tledge.exporters.materials import Materials
from tledge.exporters.options import Options
from tledge.exporters.preparations import Material
from tledge.exporters.processes import Processes, with_room
from tledge.files import compressed_bytes, sealed, temporary_folder, write_together
from tledge.progress import Progress, Silent
from tledge.records import ExportRecord
from tledge.run import Run, find_run, library_versions, now_utc, reserved_part
from tledge.tensorflow_setup import tensorflow

Outcome = ExportRecord | PromiseBroken
_PREPARING = (
    "tf-keras",
    "tensorflow-model-optimization",
    "scipy",
)  # these libraries prepare a network for integer arithmetic


def export_formats(
    run: Run | str | None,
    format_names: Sequence[str],
    *,
    options: Options | None = None,
    batch: str = ONE_PHOTO,
    jobs: int = 1,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> list[ExportRecord]:
    """Convert a run to the named formats, and write each artifact to ``exports/<format>/``.

    An artifact replaces an earlier one of its format only when it is whole and keeps its promise.

    Args:
        run: A run, its name, or None for the latest run.
        format_names: The names of formats. ``all`` stands for every format that is not made on request only.
        options: What the user sets of integer formats. None leaves every value to the format.
        batch: How many photos a file takes at a time: ``1`` or ``any``.
        jobs: How many formats are converted at a time; fewer are, where memory has no room. More than one are converted in
            worker processes. Their steps overlap, and reach ``progress`` from several threads.
        artifacts: The folder of the runs.
        progress: Hears of steps and warnings. None keeps them silent.

    Returns:
        The record of each artifact, in the order of the formats.

    Raises:
        InputError: A format or the run is unknown, or another process is exporting one of the formats of this run.
        PromiseBroken: An artifact does not hold what its format says. The other artifacts are kept.
    """
    progress = progress or Silent()
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: at least 1")
    if not format_names:
        raise InputError(f"name at least one --format: {', '.join(formats())}, or all")
    wanted = chosen(list(format_names))
    require_batch(wanted, batch)
    wanted = [form.with_batch(batch) for form in wanted]
    run = find_run(run, artifacts)
    options = options or Options()
    require_readers(options, wanted)
    materials = Materials(run, options, progress)
    for form in wanted:
        materials.require(form)
    with reserved_formats(run, [form.name for form in wanted]):
        for form in wanted:
            if form.on_request and not form.is_trained:
                progress.warn(f"{form.name}: {form.on_request}")
        with errors_of(run.manifest.backbone.handle):
            outcomes = _outcomes(run, wanted, materials, jobs, progress)
    made = [one for one in outcomes if isinstance(one, ExportRecord)]
    refused = [str(one) for one in outcomes if isinstance(one, PromiseBroken)]
    if refused:
        raise PromiseBroken("; ".join(refused) + and_exported(made))
    return made


@contextlib.contextmanager
def reserved_formats(run: Run, format_names: Iterable[str]) -> Iterator[None]:
    """Keep other processes from exporting these formats of a run. Raises InputError where a process already exports one."""
    with contextlib.ExitStack() as stack:
        for name in format_names:
            busy = f"exporting {name} of run {run.name}. Wait for its end."
            stack.enter_context(reserved_part(run, name, busy))
        yield


def _outcomes(run: Run, wanted: Sequence[Format], materials: Materials, jobs: int, progress: Progress) -> list[Outcome]:
    """Convert a run to every wanted format. Return a record or the broken promise for each, in the order of ``wanted``."""
    # Formats without a preparation come first: worker processes convert them while this process prepares the others.
    order = sorted(wanted, key=lambda form: form.preparation is not None)
    jobs = min(jobs, len(order))
    room = with_room(jobs) if jobs > 1 else 0
    if jobs > 1 and room < jobs:
        progress.say(f"formats at a time: {max(1, room)} instead of {jobs}, for memory has room for no more")
    found = _at_once(run, order, materials, room, progress) if room else _in_turn(run, order, materials, progress)
    return [found[form.name] for form in wanted]


def and_exported(made: Sequence[ExportRecord]) -> str:
    """Return a sentence for the end of an error message that lists the formats exported without error; empty if there are none."""
    return f" Exported: {', '.join(record.format for record in made)}." if made else ""


def _in_turn(run: Run, order: Sequence[Format], materials: Materials, progress: Progress) -> dict[str, Outcome]:
    """Convert the formats one after another in this process. Return a record or the broken promise by the format's name."""
    found: dict[str, Outcome] = {}
    for form in order:
        material = materials.of(form)
        try:
            found[form.name] = keep(run, artifact(run, form, material, progress))
        except PromiseBroken as error:
            found[form.name] = error
    return found


def _at_once(
    run: Run, order: Sequence[Format], materials: Materials, most: int, progress: Progress
) -> dict[str, Outcome]:
    """Convert the formats in up to ``most`` worker processes, while this process prepares the material of the next one.

    Returns a record or the broken promise by the format's name.
    """

    def convert(form: Format, material: Material | None) -> Outcome:
        what = f"exporting {form.name}"
        try:
            with progress.step(what):
                made = processes.call(what, _converted_apart, run, form.name, form.batch, material)
        except PromiseBroken as error:
            return error
        return keep(run, made)

    found: dict[str, Future[Outcome]] = {}
    # The threads wait for the processes. So the processes end first, and then the threads are waited for.
    with ThreadPoolExecutor(most) as threads, Processes(most) as processes:
        for form in order:
            if form.is_trained and not materials.has(form):
                _raise_first(found.values())  # before hours go into a training
            material = materials.of(form)
            found[form.name] = threads.submit(convert, form, material)
        _raise_first(found.values())
    return {name: one.result() for name, one in found.items()}


def _converted_apart(run: Run, format_name: str, batch: str, material: Material | None) -> Artifact:
    """Convert a run to one format in a worker process, which looks the format up by its name."""
    tensorflow()  # imported here, so that the measured time of the conversion does not include it
    return artifact(run, formats()[format_name].with_batch(batch), material, Silent())


def _raise_first(outcomes: Collection[Future[Outcome]]) -> None:
    """Wait for every outcome, or raise the error of the first conversion that fails."""
    for outcome in wait(outcomes, return_when=FIRST_EXCEPTION).done:
        outcome.result()


@dataclass(frozen=True)
class Artifact:
    """An ``Artifact`` is a file that keeps the promise of its format, with its record. The run does not hold it yet."""

    data: bytes
    record: ExportRecord


def model_of(run: Run, format_name: str, material: Material | None, batch: str = ONE_PHOTO) -> ConverterInput:
    """Return the input of the converter that makes the format ``format_name`` of a run."""
    if material and material.prepared:
        material.prepared.keep_products()
    return ConverterInput(
        run.folder / "model",
        run.manifest.backbone.input_size,
        _metadata(run, format_name, batch),
        material.calibration_photos if material else None,
        material.prepared if material else None,
        material.bounds_pairs if material else False,
        batch,
    )


def keep(run: Run, made: Artifact) -> ExportRecord:
    """Write an artifact to the folder of its format, where it replaces an earlier one.

    If the process is killed between the two files, the hash does not fit. Opening the run reports that.
    """
    folder = run.export_folder(made.record.format)
    folder.mkdir(parents=True, exist_ok=True)
    write_together(folder, {made.record.file: made.data, "export.json": sealed(made.record.as_json())})
    return made.record


def _metadata(run: Run, format_name: str, batch: str) -> str:
    manifest = run.manifest
    handle = manifest.backbone.handle
    return json.dumps(
        {
            "labels": manifest.labels,
            "input": manifest.preprocessing.as_json(),
            "batch": batch,
            "output": "class probabilities in the order of the labels",
            "provenance": {
                "run": manifest.name,
                "manifest_sha256": run.manifest_sha256,
                "dataset": manifest.dataset.name,
                "backbone": handle if is_address(handle) else manifest.backbone.sha256,
                "format": format_name,
                "tledge": manifest.tledge_version,
            },
        },
        sort_keys=True,
    )


# TensorFlow's converter, ONNX's checker and ONNX Runtime name an operator that they do not support in these words.
_UNSUPPORTED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|No Op registered for (\w+)")


def _converted(form: Format, model: ConverterInput) -> bytes:
    """Return the bytes of the artifact. Raises PromiseBroken that names the operators which the format does not support."""
    try:
        return form.convert(model)
    except Exception as error:
        # Each library raises its own exceptions for this, so their text is searched. Any other exception is raised again.
        found = sorted({name for match in _UNSUPPORTED.findall(str(error)) for name in match if name})
        if not found or disk_full(error):
            raise
        raise PromiseBroken(
            f"{form.name} has no operator for {', '.join(found)}, which this run's backbone uses. Nothing was "
            "written. Choose another format, or a backbone whose operators this one supports."
        ) from error


def artifact(run: Run, form: Format, material: Material | None, progress: Progress) -> Artifact:
    """Convert a run to one format and audit it. Raises PromiseBroken where it does not hold what its format says."""
    options = {**form.options, "batch": form.batch, **(material.record.options() if material else {})}
    started = time.perf_counter()
    with progress.step(f"exporting {form.name}"):
        data = _converted(form, model_of(run, form.name, material, form.batch))
    seconds = time.perf_counter() - started
    with temporary_folder() as folder:
        candidate = Path(folder, form.file)
        candidate.write_bytes(data)
        found = audit(candidate)
    require_promise(found, form.name, form.promise, form.file, options)
    made = ExportRecord(
        format=form.name,
        file=form.file,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        compressed_bytes=compressed_bytes(data),
        created_utc=now_utc(),
        source_manifest_sha256=run.manifest_sha256,
        promise=form.promise,
        options=options,
        calibration=material.calibration if material else None,
        audit=found,
        library_versions={
            "tledge": __version__,
            **library_versions(*form.libraries, *(_PREPARING if form.preparation else ())),
        },
        convert_s=round(seconds, 2),
    )
    return Artifact(data, made)
