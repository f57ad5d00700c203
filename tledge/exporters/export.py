"""export: a run in, artifacts out, each audited before it is kept."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tledge.audit import audit, require_promise
from tledge.backbones import KERAS
from tledge.classifier.of_run import network_of
from tledge.compression import Prepared
from tledge.compression.fitting import prepare
from tledge.compression.folding import Folded, fold
from tledge.datasets.prepare import SplitPhotos, load_split
from tledge.errors import ArtifactError, EnvironmentFault, InputError, PromiseBroken, disk_full
from tledge.exporters import Format, Model, chosen, formats
from tledge.exporters.calibration import DEFAULT_SAMPLES, choose, pin_input_range, record
from tledge.files import atomic_write, sha256_file
from tledge.preprocessing import Pixels
from tledge.progress import Progress, Silent
from tledge.records import CalibrationRecord, ExportRecord
from tledge.run import Run, artifacts_root, library_versions, now_utc, open_run
from tledge.tensorflow_setup import tensorflow

RANGES = "mse"  # how the ranges of activations are chosen where the layers are known
_PROOF_PHOTOS = 16
_SAME_PROBABILITY = 1e-3


def export(
    run: Run | str | None,
    format_names: Sequence[str],
    *,
    calibration_samples: int = DEFAULT_SAMPLES,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> list[ExportRecord]:
    """Convert a run to the named formats (``all``: every format) and write ``exports/<format>/``.

    ``run``: a run, its name, or None for the latest. An artifact replaces an earlier one of its format only
    when it is whole and keeps its promise. Raises InputError for an unknown format or run, PromiseBroken
    for an artifact that does not hold what its format says.
    """
    progress = progress or Silent()
    if not format_names:
        raise InputError(f"name at least one --format: {', '.join(formats())}, or all")
    wanted = chosen(list(format_names))
    if not isinstance(run, Run):
        run = open_run(artifacts_root(artifacts), run)
    material = None
    if any(form.needs_calibration for form in wanted):
        material = _material(run, calibration_samples, progress)
    made, refused = [], []
    for form in wanted:
        try:
            made.append(_export_one(run, form, material if form.needs_calibration else None, progress))
        except PromiseBroken as error:
            refused.append(str(error))
    if refused:
        kept = f" Exported: {', '.join(record.format for record in made)}." if made else ""
        raise PromiseBroken("; ".join(refused) + kept)
    return made


@dataclass(frozen=True)
class _Material:
    """What integer formats are made from. ``options``: how the network was prepared, for the record."""

    samples: CalibrationRecord
    pixels: Pixels
    prepared: Prepared | None
    options: dict[str, Any]


def _material(run: Run, num_samples: int, progress: Progress) -> _Material:
    samples, photos = _calibration(run, num_samples, progress)
    pixels = pin_input_range(np.asarray(photos.pixels[:], np.uint8))
    try:
        with progress.step("the network as a flat graph"):
            folded = _folded(run, pixels[:_PROOF_PHOTOS])
    except (InputError, ArtifactError, EnvironmentFault) as error:
        # A converter needs the SavedModel alone: what is lost is the fitting, and that is said and recorded.
        progress.warn(f"int8 weights are rounded as they are, not fitted: {error}")
        return _Material(samples, pixels, None, {"fitting": f"none: {error}"})
    prepared = prepare(folded, pixels, RANGES, progress)
    codes = prepared.input_codes
    options = {
        "fitting": f"least squares, {prepared.num_fitted} of {prepared.num_weighted} layers",
        "ranges": prepared.range_method,
        "input_scale": codes.scale,
        "input_zero_point": codes.zero_point,
    }
    return _Material(samples, pixels, prepared, options)


def _folded(run: Run, photos: Pixels) -> Folded:
    """The run's network, proved to answer ``photos``, uint8 (N, S, S, 3), as its SavedModel does.

    Raises InputError where its layers are unknown, ArtifactError where it answers otherwise.
    """
    if run.manifest.backbone.handle.startswith(KERAS) and not (run.folder / "network").is_dir():
        raise InputError(f"run {run.name} does not hold the layers of its backbone, {run.manifest.backbone.handle}")
    folded = fold(network_of(run, list(photos)))
    tf = tensorflow()
    served = tf.saved_model.load(str(run.folder / "model")).signatures["serving_default"]
    expected = served(pixels=tf.constant(photos))["probabilities"].numpy()
    found = tf.nn.softmax(folded.network(folded.images(photos), training=False)).numpy()
    difference = float(np.max(np.abs(found - expected)))
    if not difference <= _SAME_PROBABILITY:
        raise ArtifactError(
            f"the network of run {run.name} answers otherwise than its SavedModel, by up to {difference:.2g}"
        )
    return folded


def _calibration(run: Run, num_samples: int, progress: Progress) -> tuple[CalibrationRecord, SplitPhotos]:
    train = load_split(run, "train", progress)
    rows = choose(train.content_sha256, train.labels, num_samples, run.manifest.seed)
    if len(rows) < num_samples:
        progress.warn(f"calibrating on all {len(rows)} training photos: {num_samples} were asked for")
    picked = SplitPhotos(
        tuple(train.ids[row] for row in rows),
        train.labels[rows],
        tuple(train.content_sha256[row] for row in rows),
        train.pixels.select(rows),
    )
    test = load_split(run, "test", progress).content_sha256
    names = run.manifest.labels
    made = record(picked.ids, picked.content_sha256, picked.labels, names, run.manifest.seed, test)
    return made, picked


def _metadata(run: Run, form: Format) -> str:
    manifest = run.manifest
    return json.dumps(
        {
            "labels": manifest.labels,
            "input": manifest.preprocessing,
            "output": "class probabilities in the order of the labels",
            "provenance": {
                "run": manifest.name,
                "manifest_sha256": run.manifest_sha256,
                "dataset": manifest.dataset.name,
                "backbone": manifest.backbone.handle if "://" in manifest.backbone.handle else manifest.backbone.sha256,
                "format": form.name,
                "tledge": manifest.tledge_version,
            },
        },
        sort_keys=True,
    )


# How TensorFlow's converter, ONNX's checker and ONNX Runtime name an operator they have no counterpart for.
_UNSUPPORTED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|No Op registered for (\w+)")


def _converted(form: Format, model: Model) -> bytes:
    """The artifact's bytes. Raises PromiseBroken that names the operators the format has no counterpart for."""
    try:
        return form.convert(model)
    except Exception as error:
        # Each library has exceptions of its own for this, so their text is read; anything else goes on as it came.
        found = sorted({name for match in _UNSUPPORTED.findall(str(error)) for name in match if name})
        if not found or disk_full(error):
            raise
        raise PromiseBroken(
            f"{form.name} has no operator for {', '.join(found)}, which this run's backbone uses. Nothing was "
            "written. Choose another format, or a backbone whose operators this one supports."
        ) from error


def _export_one(run: Run, form: Format, material: _Material | None, progress: Progress) -> ExportRecord:
    model = Model(
        run.folder / "model",
        run.manifest.backbone.input_size,
        _metadata(run, form),
        material.pixels if material else None,
        material.prepared if material else None,
    )
    options = {**form.options, **(material.options if material else {})}
    started = time.perf_counter()
    with progress.step(f"exporting {form.name}"):
        data = _converted(form, model)
    seconds = time.perf_counter() - started
    folder = run.export_folder(form.name)
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.glob(".checking-*"):  # left by a killed export
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".checking-", dir=folder) as staging:
        candidate = Path(staging, form.file)
        atomic_write(candidate, data)
        found = audit(candidate)
        require_promise(found, form.name, form.promise, form.file, options)
        made = ExportRecord(
            format=form.name,
            file=form.file,
            sha256=sha256_file(candidate),
            size_bytes=len(data),
            created_utc=now_utc(),
            source_manifest_sha256=run.manifest_sha256,
            promise=form.promise,
            options=options,
            calibration=material.samples if material else None,
            audit=found,
            library_versions=library_versions(*form.libraries),
            convert_s=round(seconds, 2),
        )
        # A kill between the two leaves a hash that does not fit, which opening the run reports.
        candidate.replace(folder / form.file)
        made.save(folder / "export.json")
    return made
