"""The program that runs one artifact in its own process, started as verify starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import int8_tflite

from tledge.runtimes import runtime, runtimes
from tledge.runtimes.launch import WorkerFailed, run_worker
from tledge.runtimes.worker import MEMORY_LIMIT_BYTES, Job

from .jobs import job

WORKER = "tledge.runtimes.worker"


def started(made: Job, folder: Path, timeout_s: float = 60) -> dict[str, Any]:
    return run_worker(WORKER, asdict(made), folder / "job.json", Path(made.result), timeout_s)


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)


def test_every_photo_has_its_own_answer_in_order(tmp_path: Path, photos: np.ndarray) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos)
    started(made, tmp_path)
    session = runtime("litert").load(int8_tflite(), 1)
    expected = np.stack([session.predict(photo[None]) for photo in photos])
    answers = np.load(made.outputs)
    np.testing.assert_array_equal(answers, expected)
    assert len(np.unique(answers, axis=0)) > 1


@pytest.mark.parametrize(("wanted", "counted"), [(5, 7), (20, 20)])
def test_a_latency_is_counted_for_each_timed_run_and_an_answer_for_each_photo(
    tmp_path: Path, photos: np.ndarray, wanted: int, counted: int
) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos, min_timed_runs=wanted)
    result = started(made, tmp_path)
    assert len(result["latencies_ns"]) == counted
    assert min(result["latencies_ns"]) > 0
    assert result["load_ns"] > 0
    assert np.load(made.outputs).shape == (7, 10)


def test_peak_memory_is_its_own_and_not_that_of_the_process_that_started_it(tmp_path: Path, photos: np.ndarray) -> None:
    ballast = np.ones(500_000_000, np.uint8)  # written, so that it is resident here
    result = started(job(tmp_path, int8_tflite(), "litert", photos), tmp_path)
    assert ballast[-1] == 1
    assert 5_000_000 < result["peak_memory_bytes"] < 300_000_000


def test_peak_memory_counts_what_an_artifact_takes(tmp_path: Path, photos: np.ndarray) -> None:
    small, large = (
        started(job(tmp_path, _filling(count), "onnxruntime", photos[:1], warmup_runs=0, min_timed_runs=1), tmp_path)
        for count in (10, 50_000_000)
    )
    assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 150_000_000


def _filling(count: int) -> bytes:
    """An ONNX model that makes ``count`` float32 numbers and gives the sum of 32 of them."""
    nodes = [
        helper.make_node("ReduceMax", ["pixels_float"], ["brightest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["pixels"], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["brightest", "count"], ["many"]),
        helper.make_node("Sqrt", ["many"], ["roots"]),
        helper.make_node("Slice", ["roots", "start", "end"], ["few"]),
        helper.make_node("Unsqueeze", ["few", "start"], ["out"]),
    ]
    nodes[0], nodes[1] = nodes[1], nodes[0]
    graph = helper.make_graph(
        nodes,
        "filling",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(np.array([count], np.int64), "count"),
            numpy_helper.from_array(np.array([0], np.int64), "start"),
            numpy_helper.from_array(np.array([2], np.int64), "end"),
        ],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )


def test_an_artifact_that_wants_more_memory_than_allowed_is_stopped(tmp_path: Path, photos: np.ndarray) -> None:
    with pytest.raises(WorkerFailed) as caught:
        started(job(tmp_path, _filling(MEMORY_LIMIT_BYTES // 4), "onnxruntime", photos), tmp_path)
    assert "alloc" in str(caught.value).lower()


@pytest.mark.parametrize("name", runtimes())
@pytest.mark.parametrize(
    "garbage", [b"", b"not a model", b"\x1c\0\0\0TFL3" + b"\xff" * 200], ids=["empty", "text", "bytes"]
)
def test_a_garbage_model_is_a_worker_that_failed_with_a_message(
    tmp_path: Path, photos: np.ndarray, name: str, garbage: bytes
) -> None:
    with pytest.raises(WorkerFailed) as caught:
        started(job(tmp_path, garbage, name, photos), tmp_path)
    assert len(str(caught.value)) > 10
    assert not (tmp_path / "result.json").exists()


def test_a_model_of_another_input_size_is_a_worker_that_failed(tmp_path: Path) -> None:
    photos = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(WorkerFailed, match="(?i)dimension|shape"):
        started(job(tmp_path, int8_tflite(), "litert", photos), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death signal is Linux's")
def test_it_dies_when_its_parent_is_killed(tmp_path: Path, photos: np.ndarray) -> None:
    import json

    made = job(tmp_path, int8_tflite(), "litert", photos, min_timed_runs=10**9)
    (tmp_path / "job.json").write_text(json.dumps(asdict(made)))
    program = (
        "import os, subprocess, sys, time\n"
        f"worker = subprocess.Popen([sys.executable, '-m', {WORKER!r}, sys.argv[1], str(os.getpid())])\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "job.json")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(2)  # past its start: it has asked for the signal and is at work
        was_running = _is_running(worker)
        os.kill(parent.pid, signal.SIGKILL)  # whatever was seen: leaving the block waits for it
    assert was_running
    deadline = time.monotonic() + 10
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert not _is_running(worker)
    finally:
        if _is_running(worker):
            os.kill(worker, signal.SIGKILL)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_no_runtime_module_imports_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys, tledge.runtimes as r, tledge.runtimes.worker\n"
        "r.runtimes()\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tf_keras', 'keras')])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
