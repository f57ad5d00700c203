"""The program that runs one artifact in its own process, started as verify starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import int8_tflite

from tledge.confinement import MEMORY_LIMIT_BYTES
from tledge.runtimes import Runtime, runtime, runtimes
from tledge.workers import worker
from tledge.workers.process import ARTIFACT, WorkerFailed, WorkerProcess
from tledge.workers.worker import Worker

from .jobs import job, told


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)


def test_every_photo_has_its_own_answer_in_order(tmp_path: Path, photos: np.ndarray) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos)
    _, answered = told(made, tmp_path, ("answer", {}))
    session = runtime("litert").load(int8_tflite(), 1, "XNNPACK")
    expected = np.stack([session.predict(photo[None]) for photo in photos])
    answers = np.fromfile(made.outputs, np.float32).reshape(len(photos), answered["num_outputs"])
    np.testing.assert_array_equal(answers, expected)
    assert len(np.unique(answers, axis=0)) > 1


@pytest.mark.parametrize("kernels", runtime("litert").kernels)
def test_every_set_of_kernels_gives_nearly_the_same_answers(tmp_path: Path, photos: np.ndarray, kernels: str) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos, kernels=kernels)
    told(made, tmp_path, ("answer", {}))
    session = runtime("litert").load(int8_tflite(), 1, "XNNPACK")
    expected = np.concatenate([session.predict(photo[None]) for photo in photos])
    np.testing.assert_allclose(np.fromfile(made.outputs, np.float32), expected, atol=2 / 256)  # a code is 1/256


def test_the_load_the_first_inference_and_every_run_are_timed(tmp_path: Path, photos: np.ndarray) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos)
    loaded, few, more = told(made, tmp_path, ("time", {"runs": 3}), ("time", {"runs": 20}))
    assert loaded["load_ns"] > 0
    assert loaded["first_inference_ns"] > 0
    assert [len(answer["latencies_ns"]) for answer in (few, more)] == [3, 20]
    assert min(more["latencies_ns"]) > 0
    assert min(few["reference_ns"], more["reference_ns"]) > 0


def test_a_warm_up_ends_when_the_latency_has_settled_or_at_its_limit(tmp_path: Path, photos: np.ndarray) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos)
    _, settled, stopped = told(made, tmp_path, ("warm_up", {"limit": 100_000}), ("warm_up", {"limit": 20}))
    assert settled["is_stable"]
    assert settled["runs"] % 10 == 0
    assert settled["runs"] >= 30  # three blocks that agree
    assert (stopped["runs"], stopped["is_stable"]) == (20, False)  # two blocks can't be three that agree


def test_finding_the_runtime_is_no_part_of_the_time_to_load(
    tmp_path: Path, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0]

    def slow(name: str) -> Runtime:
        passed[0] += 1
        return runtime(name)

    monkeypatch.setattr(worker, "runtime", slow)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: passed[0])  # a clock that only moves while a runtime is found
    here = Worker(job(tmp_path, int8_tflite(), "litert", photos))
    with here._pixels:
        assert here.load() == {"load_ns": 0, "first_inference_ns": 0}
    assert passed == [1]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this platform can't pin a process to a core")
def test_a_worker_stays_on_the_cores_it_is_given(tmp_path: Path, photos: np.ndarray) -> None:
    core = max(os.sched_getaffinity(0))
    with WorkerProcess(ARTIFACT, job(tmp_path, int8_tflite(), "litert", photos, cores=[core]), tmp_path) as process:
        process.call("load", 60)
        assert os.sched_getaffinity(process.pid) == {core}


def test_peak_memory_is_its_own_and_not_that_of_the_process_that_started_it(tmp_path: Path, photos: np.ndarray) -> None:
    ballast = np.ones(500_000_000, np.uint8)  # written, so that it is resident here
    _, result = told(job(tmp_path, int8_tflite(), "litert", photos), tmp_path, ("end", {}))
    assert ballast[-1] == 1
    assert 5_000_000 < result["peak_memory_bytes"] < 300_000_000


def test_peak_memory_counts_what_an_artifact_takes(tmp_path: Path, photos: np.ndarray) -> None:
    small, large = (
        told(job(tmp_path, _filling(count), "onnxruntime", photos[:1]), tmp_path, ("end", {}))[-1]
        for count in (10, 50_000_000)
    )
    assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 150_000_000


def test_peak_memory_does_not_grow_with_the_photos(tmp_path: Path) -> None:
    many = np.random.default_rng(0).integers(0, 256, (20_000, 32, 32, 3), np.uint8)  # 61 MB
    few, all_of_them = (
        told(job(tmp_path, int8_tflite(), "litert", pixels), tmp_path, ("answer", {}), ("end", {}))[-1]
        for pixels in (many[:10], many)
    )
    assert all_of_them["peak_memory_bytes"] - few["peak_memory_bytes"] < 5_000_000


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
        told(job(tmp_path, _filling(MEMORY_LIMIT_BYTES // 4), "onnxruntime", photos), tmp_path)
    assert "alloc" in str(caught.value).lower()


@pytest.mark.parametrize("name", runtimes())
@pytest.mark.parametrize(
    "garbage", [b"", b"not a model", b"\x1c\0\0\0TFL3" + b"\xff" * 200], ids=["empty", "text", "bytes"]
)
def test_a_garbage_model_is_a_worker_that_failed_with_a_message(
    tmp_path: Path, photos: np.ndarray, name: str, garbage: bytes
) -> None:
    with pytest.raises(WorkerFailed) as caught:
        told(job(tmp_path, garbage, name, photos), tmp_path)
    assert len(str(caught.value)) > 10


def test_a_model_of_another_input_size_is_a_worker_that_failed(tmp_path: Path) -> None:
    photos = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(WorkerFailed, match="(?i)dimension|shape"):
        told(job(tmp_path, int8_tflite(), "litert", photos), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death signal is Linux's")
def test_it_dies_when_its_parent_is_killed(tmp_path: Path, photos: np.ndarray) -> None:
    made = job(tmp_path, int8_tflite(), "litert", photos)
    (tmp_path / "job.json").write_text(json.dumps(asdict(made)))
    program = (
        "import os, subprocess, sys, time\n"
        f"worker = subprocess.Popen([sys.executable, '-m', {ARTIFACT!r}, sys.argv[1], str(os.getpid())],\n"
        "    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
        "print(worker.pid, flush=True)\n"
        "for line in ({'do': 'load'}, {'do': 'time', 'runs': 10**9}):\n"
        "    worker.stdin.write(str(line).replace(chr(39), chr(34)).encode() + b'\\n')\n"
        "worker.stdin.flush()\n"
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
        "import sys, tledge.runtimes as r, tledge.workers.worker\n"
        "r.runtimes()\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tf_keras', 'keras')])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
