"""Real artifacts in their own processes: in parallel for answers, in rounds for latency."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import int8_tflite, tflite

from tledge.bench.bench import Bench, Runnable, Timed, TimeLimits
from tledge.bench.latency import Rounds
from tledge.bench.photos import lay_out
from tledge.progress import Silent
from tledge.runtimes import runtime
from tledge.workers.place import Here
from tledge.workers.process import WorkerFailed

SHORT = Rounds("quick", rounds=4, runs_a_round=6, warmup_limit=30)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    photos = lay_out(tmp_path / "pixels", [pixels[:4], pixels[4:]], 9, 32, Silent(), "laying out")
    return Bench(Here(tmp_path), photos, 10)


def _model(bench: Bench, name: str, data: bytes) -> Runnable:
    path = bench.photos.path.parent / f"{name}.tflite"
    path.write_bytes(data)
    return Runnable(name, path, "litert")


def test_every_model_gets_its_own_answers_on_every_photo(bench: Bench) -> None:
    whole = _model(bench, "whole", int8_tflite())
    exact = _model(bench, "exact", tflite(float_input=False))
    found = bench.answers([whole, exact], Silent(), "answers")
    pixels = np.fromfile(bench.photos.path, np.uint8).reshape(9, 1, 32, 32, 3)
    for model in (whole, exact):
        session = runtime("litert").load(model.path.read_bytes(), 1, "XNNPACK")
        np.testing.assert_array_equal(found[model], np.stack([session.predict(photo) for photo in pixels]))


def test_a_broken_artifact_fails_alone(bench: Bench) -> None:
    whole, broken = _model(bench, "whole", int8_tflite()), _model(bench, "broken", int8_tflite()[:500])
    found = bench.answers([broken, whole], Silent(), "answers")
    assert isinstance(found[broken], WorkerFailed)
    assert np.shape(found[whole]) == (9, 10)
    timing = bench.latencies([broken, whole], 1, SHORT, Silent())
    assert isinstance(timing.timed[broken], WorkerFailed)
    assert isinstance(timing.timed[whole], Timed)


def test_latencies_come_in_rounds_with_one_artifact_against_itself(bench: Bench) -> None:
    whole, exact = _model(bench, "whole", int8_tflite()), _model(bench, "exact", tflite(float_input=False))
    timing = bench.latencies([whole, exact], 1, SHORT, Silent())
    assert list(timing.timed) == [whole, exact]
    for timed in timing.timed.values():
        assert isinstance(timed, Timed)
        assert (timed.latency.rounds, timed.latency.runs, timed.latency.num_threads) == (4, 24, 1)
        assert len(timed.latency.round_medians_ms) == 4
        assert 10 < timed.peak_memory_mb < 1000
    assert timing.floor is not None
    assert timing.floor.artifact in {"whole", "exact"}


def test_nothing_to_time_has_no_noise_floor(bench: Bench) -> None:
    timing = bench.latencies([_model(bench, "broken", b"")], 1, SHORT, Silent())
    assert timing.floor is None


def test_an_artifact_that_hangs_is_ended_at_its_time_limit(bench: Bench) -> None:
    impatient = replace(bench, limits=TimeLimits(start_s=0.01, photo_s=0.0))
    (failure,) = impatient.answers([_model(bench, "slow", int8_tflite())], Silent(), "answers").values()
    assert isinstance(failure, WorkerFailed)
    assert "no answer within" in str(failure)


def test_answers_leave_no_files_behind_but_the_photos(bench: Bench) -> None:
    whole, broken = _model(bench, "whole", int8_tflite()), _model(bench, "broken", int8_tflite()[:500])
    bench.answers([whole, broken], Silent(), "answers")
    replace(bench, num_classes=3).answers([whole], Silent(), "answers")
    folder = bench.photos.path.parent
    assert sorted(path.name for path in folder.iterdir()) == ["broken.tflite", "pixels", "whole.tflite"]


def test_more_threads_than_cores_are_not_pinned(bench: Bench) -> None:
    assert bench.place.cores(1000) == []


def test_rounds_are_added_until_the_protocol_has_what_it_asks_for(bench: Bench) -> None:
    rounds = Rounds("mlperf", rounds=2, runs_a_round=0, warmup_limit=30, min_queries=100, min_duration_s=1e-6)
    rounds_that_are_short = Rounds("quick", rounds=2, runs_a_round=6, warmup_limit=30, min_queries=18)
    for wanted, least in ((rounds, 100), (rounds_that_are_short, 18)):
        (timed,) = bench.latencies([_model(bench, "whole", int8_tflite())], 1, wanted, Silent()).timed.values()
        assert isinstance(timed, Timed)
        assert timed.latency.runs >= least


def test_a_latency_that_never_reaches_what_the_protocol_asks_for_is_no_measurement(bench: Bench) -> None:
    endless = Rounds("mlperf", rounds=2, runs_a_round=0, warmup_limit=30, min_queries=10**6, min_duration_s=0.0)
    (failure,) = bench.latencies([_model(bench, "whole", int8_tflite())], 1, endless, Silent()).timed.values()
    assert isinstance(failure, WorkerFailed)
    assert "did not reach the 1,000,000 queries and 0 s of the mlperf protocol" in str(failure)


def test_answers_stay_on_the_disk_and_are_told_as_they_come(bench: Bench) -> None:
    whole, broken = _model(bench, "whole", int8_tflite()), _model(bench, "broken", b"")
    told: dict[Runnable, object] = {}
    found = bench.answers([whole, broken], Silent(), "answers", told.__setitem__)
    assert isinstance(found[whole], np.memmap)
    assert {model: id(answers) for model, answers in told.items()} == {
        model: id(answers) for model, answers in found.items()
    }


@pytest.mark.parametrize(
    "lie",
    ["dict()", "dict(num_outputs=-1)", "dict(num_outputs='10')", "dict(num_outputs=True)", "dict(num_outputs=10**30)"],
)
def test_a_worker_that_a_model_took_over_is_a_failed_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    program = "import sys, json\nfor line in sys.stdin:\n    print(json.dumps(" + lie + "), flush=True)\n"
    (tmp_path / "lying_worker.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    model = Runnable("liar", bench.photos.path, "litert", program="lying_worker")
    (failure,) = bench.answers([model], Silent(), "answers").values()
    assert isinstance(failure, WorkerFailed)
    (timed,) = bench.latencies([model], 1, SHORT, Silent()).timed.values()
    assert isinstance(timed, WorkerFailed)


def test_an_artifact_of_another_number_of_classes_fails_before_its_output_is_read(bench: Bench) -> None:
    narrow = replace(bench, num_classes=3)
    (failure,) = narrow.answers([_model(bench, "whole", int8_tflite())], Silent(), "answers").values()
    assert isinstance(failure, WorkerFailed)
    assert "the output has 10 classes, the original 3" in str(failure)
