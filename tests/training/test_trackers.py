"""What a training tells while it runs, read back by the libraries' own readers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from event_files import scalars

from tledge.errors import EnvironmentFault
from tledge.run import Run
from tledge.training.trackers import require_trackers, told, trackers

EPOCHS = [{"loss": 2.0, "accuracy": 0.5, "val_loss": 1.5, "val_accuracy": 0.625}, {"loss": 1.0, "val_loss": 1.25}]


def test_tensorboard_has_both_curves_of_every_epoch_and_the_final_accuracies(built: Run, tmp_path: Path) -> None:
    with trackers("one", {}, tmp_path, mlflow=False) as chosen:
        for number, row in enumerate(EPOCHS, start=1):
            told(chosen)(number, row)
        chosen[0].end(built.manifest)
    (path,) = (tmp_path / "one").iterdir()
    found = scalars(path)
    assert (1, "loss/train", 2.0) in found
    assert (1, "accuracy/validation", 0.625) in found
    assert (2, "loss/validation", 1.25) in found
    last = {tag: value for step, tag, value in found if step == built.manifest.num_epochs}
    assert last["final_accuracy/test"] == pytest.approx(built.manifest.metrics["test"].accuracy)


def test_nothing_is_told_where_nothing_was_asked_for() -> None:
    with trackers("one", {}, None, mlflow=False) as chosen:
        assert chosen == []


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
def test_mlflow_that_is_missing_is_an_error_that_says_how_to_have_it() -> None:
    with pytest.raises(EnvironmentFault, match=r"pip install '\.\[mlflow\]'"):
        require_trackers(None, mlflow=True)


@pytest.mark.filterwarnings("ignore")  # of mlflow's own
def test_mlflow_has_the_recipe_the_epochs_and_the_end(built: Run, tmp_path: Path, monkeypatch: Any) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    mlflow.set_tracking_uri(tmp_path.as_uri())
    with trackers("one", built.manifest.recipe, None, mlflow=True) as (tracker,):
        for number, row in enumerate(EPOCHS, start=1):
            tracker.epoch(number, row)
        tracker.end(built.manifest)
    client = mlflow.MlflowClient()
    with pytest.raises(KeyboardInterrupt), trackers("two", {}, None, mlflow=True):
        raise KeyboardInterrupt
    lost, run = client.search_runs([client.get_experiment_by_name("tledge").experiment_id])
    assert lost.info.status == "FAILED"
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == str(built.manifest.recipe["learning_rate"])
    assert [point.value for point in client.get_metric_history(run.info.run_id, "val_loss")] == [1.5, 1.25]
    assert run.data.metrics["test_accuracy"] == built.manifest.metrics["test"].accuracy
