"""This module writes a new run, which stands whole under its name or not at all.

Training, or another way to make a model, writes ``model/`` and its other files into the folder that it is given.
:func:`finish` adds what every run holds: the splits, the original's answers, and the manifest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge._version import __version__
from tledge.backbones import Backbone
from tledge.datasets.prepare import Dataset
from tledge.datasets.splits import RULE
from tledge.errors import InputError
from tledge.files import atomic_write, sync_folder, sync_tree, working_folder
from tledge.locks import reserved, reserved_new
from tledge.outputs import make_root
from tledge.records import DeviceRecord, FeatureRecord, ImportRecord, Manifest, PreprocessingRecord
from tledge.run import ELSEWHERE, LATEST, MANIFEST, UNFINISHED, check_name, library_versions, now_utc, tree_hashes
from tledge.scores import metrics_of

LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-hub", "ai-edge-litert", "scikit-learn", "pillow", "numpy")
_STAGING = ".building-"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MadeModel:
    """This record says how a model was made, and holds its answers.

    Logits are float32 (N, C), in the order of the splits' rows, as ``device`` computed them. ``recipe`` has plain JSON
    values. ``features`` says what computed frozen features; it is None where none were used. ``imported`` says from which file the
    model came; it is None for one that was trained here.
    """

    recipe: dict[str, Any]
    seed: int
    num_epochs: int
    best_epoch: int
    validation_logits: Floats
    test_logits: Floats
    features: FeatureRecord | None
    device: DeviceRecord
    wall_time_s: float
    imported: ImportRecord | None = None


@contextlib.contextmanager
def reserved_run(root: Path, name: str) -> Iterator[None]:
    """Keep other processes from building ``name``; the lock ends with this process.

    Raises InputError where another process builds it already.
    """
    check_name(name)
    make_root(root, ELSEWHERE)
    with reserved(root, name, f"building run {name!r} in {root}. Choose another --run, or wait for its end."):
        yield


@contextlib.contextmanager
def reserved_new_run(root: Path, stem: str) -> Iterator[str]:
    """Reserve a name that no run has, finished or not: ``stem``, or ``stem`` with a number at its end.

    ``stem`` is a valid run name.
    """
    make_root(root, ELSEWHERE)

    def is_taken(name: str) -> bool:
        return any((root / other).exists() for other in (name, f"{UNFINISHED}{name}"))

    with reserved_new(root, stem, is_taken) as name:
        yield name


@contextlib.contextmanager
def staged_run(root: Path, name: str) -> Iterator[Path]:
    """Give a folder to build ``name`` in; on a clean exit it becomes the run, and the latest one.

    Preconditions: this process holds the name (:func:`reserved_run`), and the body writes ``manifest.json`` last, as
    :func:`finish` does. On any exception the folder is removed. A killed process leaves it, and the next build removes
    it. Raises InputError where a run of that name exists.
    """
    check_name(name)
    make_root(root, ELSEWHERE)
    if (root / name).exists():
        raise InputError(f"run {name!r} exists already in {root}. Choose another --run, or remove that folder.")
    with working_folder(root, _STAGING) as staging:
        yield staging
        if not (staging / MANIFEST).is_file():
            raise RuntimeError("the run has no manifest")
        sync_tree(staging)
        try:
            os.rename(staging, root / name)
        except OSError as error:
            raise InputError(f"run {name!r} appeared in {root} in the meantime. Choose another --run.") from error
        sync_folder(root)
        atomic_write(root / LATEST, f"{name}\n".encode())


def finish(folder: Path, name: str, data: Dataset, backbone: Backbone, made: MadeModel) -> Manifest:
    """Complete the folder of a run, in which its model stands: add splits.csv, reference.npz and, last, manifest.json.

    Raises InputError where the model's answer to a test photo is not finite.
    """
    splits = data.splits.rows
    test = splits["test"]
    ids = [data.ids[row] for row in test]
    _require_finite(ids, made.test_logits)
    data.write_splits(folder)
    with (folder / "reference.npz").open("wb") as file:
        np.savez(file, ids=np.array(ids), labels=data.labels[test], logits=made.test_logits)
    manifest = Manifest(
        name=name,
        created_utc=now_utc(),
        tledge_version=__version__,
        dataset=data.record(),
        labels=list(data.source.labels),
        splits=data.split_records(),
        split_rule=RULE,
        backbone=backbone.record(),
        recipe=made.recipe,
        seed=made.seed,
        preprocessing=PreprocessingRecord(
            version=data.preparation.version,
            description=data.preparation.description(),
            input=f"uint8 RGB, NHWC, {backbone.input_size} x {backbone.input_size}",
            scale_in_graph=preprocessing.PIXEL_SCALE,
            pixel_range=None if data.preparation.pixel_range is None else list(data.preparation.pixel_range),
            resize=str(data.preparation.resize),
        ),
        features=made.features,
        metrics={
            "validation": metrics_of(data.labels[splits["validation"]], made.validation_logits),
            "test": metrics_of(data.labels[test], made.test_logits),
        },
        best_epoch=made.best_epoch,
        num_epochs=made.num_epochs,
        device=made.device,
        wall_time_s=made.wall_time_s,
        library_versions=library_versions(*LIBRARIES),
        imported=made.imported,
        files_sha256=tree_hashes(folder),
    )
    manifest.save(folder / MANIFEST)
    return manifest


def _require_finite(ids: Sequence[str], logits: Floats) -> None:
    """Raise InputError where the model's answer to a photo is not finite.

    ``logits`` are (N, C), with one row for each of ``ids``.
    """
    broken = [ids[row] for row in np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()]
    if broken:
        raise InputError(
            f"the model's answer is not finite on {len(broken)} test photos ({', '.join(broken[:3])}). "
            "Choose another --backbone."
        )
