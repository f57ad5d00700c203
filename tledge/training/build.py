"""build: data set in, run folder out."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tledge import __version__, preprocessing
from tledge.backbones import DEFAULT, open_backbone
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare
from tledge.datasets.splits import RULE
from tledge.errors import InputError
from tledge.files import atomic_write
from tledge.progress import Progress, Silent
from tledge.records import Manifest
from tledge.run import MANIFEST, Run, artifacts_root, library_versions, now_utc, open_run, staged_run, tree_hashes
from tledge.training.fit import HISTORY_COLUMNS, Head
from tledge.training.plot import plot_history
from tledge.training.recipe import Recipe

LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-hub", "ai-edge-litert", "scikit-learn", "pillow", "numpy")
_T = TypeVar("_T")


def build(
    dataset: str,
    *,
    backbone: str = DEFAULT,
    input_size: int | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    run: str | None = None,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train a classifier and write its run folder.

    ``dataset`` and ``backbone`` as :func:`tledge.datasets.open_source` and
    :func:`tledge.backbones.open_backbone` take them; ``run`` names the run (default: data set, backbone, time).
    Raises InputError for bad input, EnvironmentFault for a machine that lacks network, disk or files.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    recipe = recipe or Recipe()
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: use a whole number from 0 to 4294967295")
    root = artifacts_root(artifacts)
    with progress.step("loading TensorFlow"):
        from tledge.tensorflow_setup import device, tensorflow

        tensorflow(seed)
    with progress.step("opening the data set"):
        source = open_source(dataset)
    name = _default_name(source.name, backbone) if run is None else run
    with staged_run(root, name) as staging:
        from tledge.training import features, fit, metrics, model

        where = device()
        progress.say(f"device: {where.kind}, {where.name}")
        with progress.step("loading the backbone"):
            extractor = open_backbone(backbone, input_size)
        data = prepare(source, extractor.input_size, seed, progress)
        splits = data.splits.rows
        seen = np.concatenate([splits["train"], splits["validation"]])  # the head never meets the test split
        rows, feature_record = features.features_of(extractor, data, seen, progress)
        train, validation = np.split(np.arange(len(seen)), [len(splits["train"])])
        test = splits["test"]

        # The test photos need no head yet: TensorFlow computes their features while the head is trained.
        with _beside(
            lambda goes_on: features.tensorflow_features(extractor, data.pixels.select(test), goes_on)
        ) as beside:
            head = fit.fit_head(rows, data.labels[seen], train, validation, len(source.labels), recipe, seed, progress)
            original = model.compose(extractor, head)
            with progress.step("writing the model"):
                model.save(original, staging / "model")
                data.write_splits(staging)
                _write_history(staging, head)
                validation_metrics = metrics.metrics_of(
                    data.labels[splits["validation"]], head.logits(np.asarray(rows[validation], np.float32))
                )
            with progress.step("the original's answers on the test split"):
                logits = model.logits_of(original, beside.result())
        broken = [data.ids[row] for row in test[~np.isfinite(logits).all(axis=1)]]
        if broken:
            raise InputError(
                f"the model's answer is not finite on {len(broken)} test photos ({', '.join(broken[:3])}); "
                "choose another --backbone"
            )
        _write_reference(staging / "reference.npz", [data.ids[row] for row in test], data.labels[test], logits)
        manifest = Manifest(
            name=name,
            created_utc=now_utc(),
            tledge_version=__version__,
            dataset=data.record(),
            labels=list(source.labels),
            splits=data.split_records(),
            split_rule=RULE,
            backbone=extractor.record(),
            recipe=recipe.as_json(),
            seed=seed,
            preprocessing={
                "version": preprocessing.VERSION,
                "description": preprocessing.DESCRIPTION,
                "input": f"uint8 RGB, NHWC, {extractor.input_size} x {extractor.input_size}",
                "scale_in_graph": preprocessing.PIXEL_SCALE,
            },
            features=feature_record,
            metrics={"validation": validation_metrics, "test": metrics.metrics_of(data.labels[test], logits)},
            best_epoch=head.best_epoch,
            num_epochs=len(head.history),
            device=where,
            wall_time_s=round(time.perf_counter() - started, 2),
            library_versions=library_versions(*LIBRARIES),
            files_sha256=tree_hashes(staging),
        )
        manifest.save(staging / MANIFEST)
    return open_run(root, name)


@contextlib.contextmanager
def _beside(work: Callable[[Callable[[], bool]], _T]) -> Iterator[Future[_T]]:
    """Run ``work`` in a thread meanwhile. It is told to stop where the block ends before it: by an error, by Ctrl-C."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(work, lambda: not ended.is_set())
        finally:
            ended.set()


def _default_name(dataset: str, backbone: str) -> str:
    parts = [part for part in backbone.rstrip("/").split("/") if not part.isdigit()]
    meaningful = [part for part in parts if part != "feature_vector"]
    stem = "-".join(
        [dataset.partition(":")[0], (meaningful or ["backbone"])[-1], time.strftime("%Y%m%d-%H%M%S", time.gmtime())]
    )
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return plain[-100:].lstrip("-._")


def _write_reference(
    path: Path, ids: list[str], labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]
) -> None:
    with path.open("wb") as file:
        np.savez(file, ids=np.array(ids), labels=labels, logits=logits)


def _write_history(folder: Path, head: Head) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["epoch", *HISTORY_COLUMNS])
    for epoch, row in enumerate(head.history, start=1):
        table.writerow([epoch, *(f"{row[column]:.6f}" for column in HISTORY_COLUMNS)])
    atomic_write(folder / "history.csv", out.getvalue().encode())
    plot_history(head, folder / "history.png")
