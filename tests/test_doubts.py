"""What a run's own record says against its model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tledge.doubts import doubts
from tledge.records import Manifest
from tledge.run import Run


def _manifest(run: Run, **changes: Any) -> Manifest:
    return run.manifest.model_copy(update=changes)


def _tested(run: Run, matrix: list[list[int]], trained: list[int]) -> Manifest:
    """The run's record with two classes, of which so many photos were tested and trained on."""
    labels = ["daisy", "rose"]
    counts = np.array(matrix)
    found = run.manifest.metrics["test"].model_copy(
        update={
            "num_photos": int(counts.sum()),
            "accuracy": float(np.trace(counts) / counts.sum()),
            "confusions": [(row, column, int(count)) for (row, column), count in np.ndenumerate(counts) if count],
        }
    )
    split = run.manifest.splits["train"].model_copy(update={"class_counts": dict(zip(labels, trained, strict=True))})
    return _manifest(
        run,
        labels=labels,
        metrics={**run.manifest.metrics, "test": found},
        splits={**run.manifest.splits, "train": split},
    )


def test_nothing_speaks_against_a_good_model(built: Run, lenet: Run) -> None:
    assert doubts(built.manifest) == doubts(lenet.manifest) == []


def test_a_model_worse_than_the_most_frequent_class_is_told(built: Run) -> None:
    assert doubts(_tested(built, [[31, 1], [1, 3]], [134, 8])) == []
    for matrix, accuracy in (
        ([[13, 19], [2, 2]], "41.67%"),
        ([[32, 0], [4, 0]], "88.89%"),
        ([[31, 1], [3, 1]], "88.89%"),
    ):
        said = doubts(_tested(built, matrix, [134, 8]))[0]
        assert said == f"test accuracy {accuracy} is no better than that of answering daisy to every photo, 88.89%"
    # What is frequent is told by the photos trained on.
    assert not any("daisy" in said for said in doubts(_tested(built, [[13, 19], [2, 2]], [8, 134])))


def test_a_model_that_can_not_be_told_from_guessing_is_told(built: Run) -> None:
    assert doubts(_tested(built, [[31, 19], [20, 30]], [50, 50])) == []  # 61 of 100: two standard errors above 50
    (said,) = doubts(_tested(built, [[30, 20], [21, 29]], [50, 50]))
    assert said == "test accuracy 59.00% on 100 photos can't be told from that of guessing at random, 50.00%"


@pytest.mark.parametrize("schedule", ["constant", "plateau", "cosine"])
def test_a_training_that_its_last_epoch_still_made_better_is_told(built: Run, schedule: str) -> None:
    recipe = {**built.manifest.recipe, "max_epochs": 7, "schedule": schedule}
    assert doubts(_manifest(built, best_epoch=6, num_epochs=7, recipe=recipe)) == []
    said = doubts(_manifest(built, best_epoch=7, num_epochs=7, recipe=recipe))
    if schedule == "cosine":  # its rate ends at zero: the last epoch is the best by itself
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith(
            "best epoch 7 of --max-epochs 7: the training ended while the validation loss still fell"
        )


def test_build_and_every_report_tell(tledge: Callable[..., Any], lenet_copy: Run) -> None:
    root, where = lenet_copy.folder.parent, ["--artifacts", lenet_copy.folder.parent]
    outcome = tledge(
        "build", "--dataset", "digits", "--backbone", "lenet", "--recipe", "scratch", "--run", "bad", "--learning-rate", "1",
        "--max-epochs", "2", "--json", *where,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)["warnings"]
    assert any("can't be told from that of guessing at random, 10.00%" in doubt for doubt in said)
    assert all(f"warning: {doubt}" in outcome.err for doubt in said)
    assert tledge("export", "--run", "bad", "--format", "tflite-float32", *where).code == 0
    verified = tledge("verify", "--run", "bad", "--accuracy-only", *where)
    reports = root / "bad" / "verification"
    assert json.loads((reports / "report.json").read_text())["warnings"][: len(said)] == said
    for name in ("report.md", "report.html"):
        text = (reports / name).read_text()
        assert "of guessing at random, 10.00%" in text
    assert all(f"warning: {doubt}" in verified.err for doubt in said)
