"""Records and reports of a thousand classes stay small, and every class of few photos is learned."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from reporting.samples import sample_report

from tledge.backbones import Backbone
from tledge.datasets.photo_source import Photo
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.progress import Silent
from tledge.records import DeviceRecord, Manifest, Report
from tledge.reporting import rendered_files
from tledge.run_writer import MadeModel, finish
from tledge.scores import metrics
from tledge.verification.drift import drift, photo_answers

NUM_CLASSES, EACH = 1000, 5


@dataclass(frozen=True)
class Drawn:
    """A thousand classes of five pictures of 8 x 8 pixels."""

    spec: str = "drawn"
    name: str = "drawn"
    labels: tuple[str, ...] = tuple(f"class {number:04d}" for number in range(NUM_CLASSES))
    num_photos: int = NUM_CLASSES * EACH
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    class_counts: tuple[int, ...] | None = None

    def photos(self) -> Iterator[Photo]:
        draw = np.random.default_rng(0)
        for number in range(self.num_photos):
            label = number % NUM_CLASSES
            yield Photo(f"{self.labels[label]}/{number}.png", label, None, draw.integers(0, 256, (8, 8, 3), np.uint8))


@pytest.fixture(scope="module")
def progress() -> Silent:
    return Silent()


@pytest.fixture(scope="module")
def data(progress: Silent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEDGE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield prepare_dataset(Drawn(), 8, 1, progress)


def _logits(labels: np.ndarray, seed: int) -> np.ndarray:
    """Answers of which two thirds are right."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1, (len(labels), NUM_CLASSES)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 3.5
    return logits


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def manifest(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest that a build of these classes writes."""
    folder = tmp_path_factory.mktemp("run")
    validation, test = (_logits(data.labels[data.splits.rows[name]], 0) for name in ("validation", "test"))
    made = MadeModel({}, 0, 1, 1, validation, test, None, DeviceRecord(kind="CPU", name="some", count=1), 1.0)
    finish(folder, "drawn", data, Backbone("some", "0" * 64, 8, 1, None), made)
    return folder / "manifest.json"


def test_the_manifest_of_a_thousand_classes_is_under_a_megabyte(manifest: Path, data: Dataset) -> None:
    assert manifest.stat().st_size < 1_000_000
    scores = Manifest.load(manifest, "").metrics["test"]
    assert sum(count for _, _, count in scores.confusions) == len(data.splits.rows["test"]) == scores.num_photos


def test_the_report_of_a_thousand_classes_is_under_five_megabytes(data: Dataset, tmp_path: Path) -> None:
    labels = data.labels[data.splits.rows["test"]]
    answers = [_softmax(_logits(labels, seed)) for seed in range(10)]
    drifts = [drift(labels, answers[0], one, data.source.labels) for one in answers]
    keys = [data.content_sha256[row] for row in data.splits.rows["test"]]
    pairs = [photo_answers(labels, answers[0], one, keys, data.source.labels) for one in answers]
    sample = sample_report(labels=data.source.labels, num_photos=len(labels), num_gallery=300, broken=False)
    rows = [
        row.model_copy(update={"format": f"tflite-{number}", "drift": one, "answers": photos})
        for number, (row, one, photos) in enumerate(zip(sample.rows * 2, drifts, pairs, strict=True))
    ]
    sample.model_copy(update={"rows": rows, "choice": sample.choice.model_copy(update={"best": None})}).save(
        tmp_path / "report.json"
    )
    assert (tmp_path / "report.json").stat().st_size < 5_000_000
    report = Report.load(tmp_path / "report.json", "")
    assert len(report.rows) == 10
    page = rendered_files(report)["report.html"]
    assert b"1000 classes are too many for a matrix" in page


def test_every_class_of_five_photos_has_a_training_photo(data: Dataset, manifest: Path, progress: Silent) -> None:
    moved = Manifest.load(manifest, "").dataset.moved_into_training
    assert moved
    assert all(Manifest.load(manifest, "").splits["train"].class_counts.values())
    named = [warning for warning in progress.warnings if "fell into training: the one with the lowest hash" in warning]
    assert len(named) == 1 and all(photo.split("/")[0] in named[0] for photo in moved[:5])
    assert max(map(len, progress.warnings)) < 200


def test_scoring_five_thousand_classes_takes_megabytes() -> None:
    draw = np.random.default_rng(0)
    labels, predicted = draw.integers(0, 5000, (2, 4000))
    tracemalloc.start()
    try:
        scores = metrics(labels, predicted, 5000)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # a matrix of them has 25 million counts
    finally:
        tracemalloc.stop()
    assert len(scores.confusions) <= 4000
