"""Faults planted in real artifacts, as other tools' mistakes make them: each is found, by the gate that should find it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from small_models import replace_artifact, rewrite_onnx, rewrite_tflite

from tledge.records import Check, Row
from tledge.run import Run, open_run
from tledge.runtimes import runtime
from tledge.stages import export, verify
from tledge.training.build import build
from tledge.verification.measurement import Wanted

COLOURS = {"blue": (40, 40, 220), "green": (40, 220, 40), "red": (220, 40, 40)}
ACCURACY = Wanted(accuracy_only=True)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of colours, which a swap of channels must fool. Read only."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(60):
            noise = np.clip(rng.normal(colour, 60, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / "photos" / name / f"{number:02}.png")
    run = build(str(folder / "photos"), backbone="bundled", run="colours", artifacts=folder / "artifacts")
    export(run, ["tflite-float32", "tflite-int8", "onnx-float32"])
    return run


@pytest.fixture
def colours_copy(colours: Run, tmp_path: Path) -> Run:
    shutil.copytree(colours.folder, tmp_path / "colours")
    return open_run(tmp_path, "colours")


def _data(run: Run, name: str) -> bytes:
    (path,) = run.export_folder(name).glob("model.*")
    return path.read_bytes()


def _row(run: Run, name: str, wanted: Wanted = ACCURACY) -> Row:
    (row,) = verify(run, format_names=[name], target="cpu-single-core", wanted=wanted).rows
    return row


def _failed(row: Row) -> dict[str, Check]:
    assert row.verdict == "failed"
    return {check.name: check for check in row.checks if check.verdict == "failed"}


@pytest.mark.long
def test_nothing_is_found_where_nothing_was_planted(colours: Run) -> None:
    report = verify(colours, wanted=ACCURACY)
    assert report.original.accuracy > 0.9
    assert {row.verdict for row in report.rows} <= {"passed", "certified"}


def _with_a_node_behind_the_input(data: bytes, make: Callable[[str, str], Any], *constants: Any) -> bytes:
    def change(model: Any) -> None:
        graph = model.graph
        (taken,) = [value.name for value in graph.input]
        for node in graph.node:
            node.input[:] = ["planted" if name == taken else name for name in node.input]
        graph.node.insert(0, make(taken, "planted"))
        graph.initializer.extend(constants)

    return rewrite_onnx(data, change)


def test_a_swapped_channel_order_fails_the_accuracy_gate(colours_copy: Run) -> None:
    order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), "order")
    data = _with_a_node_behind_the_input(
        _data(colours_copy, "onnx-float32"),
        lambda taken, given: helper.make_node("Gather", [taken, "order"], [given], axis=3),
        order,
    )
    replace_artifact(colours_copy, "onnx-float32", data)
    row = _row(colours_copy, "onnx-float32")
    assert set(_failed(row)) == {"max_accuracy_drop_points"}
    assert row.drift is not None
    recalls = {one.label: one.recall or 0.0 for one in row.drift.per_class}
    assert recalls["green"] > 0.9  # whose channel stayed in its place
    assert max(recalls["red"], recalls["blue"]) < 0.5


def test_a_wrong_scale_in_the_graph_fails_the_accuracy_gate(colours_copy: Run) -> None:
    """As where training divided the pixels by 255 and the converter by 85."""

    def change(model: Any) -> None:
        graph = model.graph
        (cast,) = [node for node in graph.node if node.op_type == "Cast" and node.input[0] == graph.input[0].name]
        pixels, cast.output[0] = cast.output[0], "unscaled"
        graph.node.insert(list(graph.node).index(cast) + 1, helper.make_node("Mul", ["unscaled", "three"], [pixels]))
        graph.initializer.append(numpy_helper.from_array(np.float32(3), "three"))

    replace_artifact(colours_copy, "onnx-float32", rewrite_onnx(_data(colours_copy, "onnx-float32"), change))
    assert set(_failed(_row(colours_copy, "onnx-float32"))) == {"max_accuracy_drop_points"}


def test_a_wrong_input_scale_of_an_int8_file_breaks_its_promise(colours_copy: Run) -> None:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].quantization.scale = np.array([0.5], np.float32)

    replace_artifact(colours_copy, "tflite-int8", rewrite_tflite(_data(colours_copy, "tflite-int8"), change))
    check = _failed(_row(colours_copy, "tflite-int8"))["promise"]
    assert "scale" in check.reason


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-float32"])
def test_a_label_order_shifted_by_one_inside_the_file_breaks_the_contract(colours_copy: Run, name: str) -> None:
    def shifted(text: str) -> str:
        metadata = json.loads(text)
        metadata["labels"] = [*metadata["labels"][1:], metadata["labels"][0]]
        return json.dumps(metadata, sort_keys=True)

    def change_tflite(model: Any) -> None:
        (entry,) = [entry for entry in model.metadata if entry.name == b"TLEDGE_METADATA"]
        buffer = model.buffers[entry.buffer]
        buffer.data = np.frombuffer(shifted(bytes(buffer.data).decode()).encode(), np.uint8)

    def change_onnx(model: Any) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == "tledge"]
        entry.value = shifted(entry.value)

    data = _data(colours_copy, name)
    changed = rewrite_tflite(data, change_tflite) if name.startswith("tflite") else rewrite_onnx(data, change_onnx)
    replace_artifact(colours_copy, name, changed)
    failed = _failed(_row(colours_copy, name))
    assert set(failed) == {"contract"}
    assert "label" in failed["contract"].reason


def test_outputs_shifted_by_one_label_fail_the_accuracy_gate(colours_copy: Run) -> None:
    def change(model: Any) -> None:
        (answer,) = [value.name for value in model.graph.output]
        for node in model.graph.node:
            node.output[:] = ["before" if name == answer else name for name in node.output]
        model.graph.node.append(helper.make_node("Gather", ["before", "order"], [answer], axis=1))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 0], np.int64), "order"))

    replace_artifact(colours_copy, "onnx-float32", rewrite_onnx(_data(colours_copy, "onnx-float32"), change))
    check = _failed(_row(colours_copy, "onnx-float32"))["max_accuracy_drop_points"]
    assert "significant" in check.reason


def test_float_operators_inside_an_int8_file_break_its_promise_and_are_named(colours_copy: Run) -> None:
    replace_artifact(colours_copy, "tflite-int8", _data(colours_copy, "tflite-float32"))
    check = _failed(_row(colours_copy, "tflite-int8"))["promise"]
    for operator in ("CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX"):
        assert operator in check.reason


def _biased(data: bytes, offset: float) -> bytes:
    """The model with one class favoured by ``offset`` in its logits."""

    def change(model: Any) -> None:
        (last,) = [node for node in model.graph.node if node.op_type in ("Gemm", "Add", "MatMul")][-1:]
        for tensor in model.graph.initializer:
            if tensor.name == last.input[-1]:
                bias = numpy_helper.to_array(tensor).copy()
                bias.flat[0] += offset
                tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))

    return rewrite_onnx(data, change)


def test_a_loss_of_three_points_fails_the_accuracy_gate(run_copy: Run) -> None:
    from tledge.datasets.run_photos import load_split
    from tledge.progress import Silent

    photos = load_split(run_copy, "test", Silent())
    data = _data(run_copy, "onnx-float32")
    right = run_copy.manifest.metrics["test"].accuracy * len(photos.ids)

    def lost_points(offset: float) -> float:
        session = runtime("onnxruntime").load(_biased(data, offset), 1, "optimized")
        answers = [int(np.argmax(session.predict(photo[None]))) for photo in photos.pixels[:]]
        return float(100 * (right - np.sum(np.array(answers) == photos.labels)) / len(photos.ids))

    offset = next(offset for offset in np.arange(0.5, 10, 0.25) if lost_points(float(offset)) >= 2.8)
    replace_artifact(run_copy, "onnx-float32", _biased(data, float(offset)))
    row = _row(run_copy, "onnx-float32")
    assert row.drift is not None
    assert 2.8 <= row.drift.accuracy_drop_points <= 6
    assert set(_failed(row)) == {"max_accuracy_drop_points"}


def _p95_ms(run: Run, name: str) -> float:
    """Of a whole ONNX artifact, on one thread."""
    size = run.manifest.backbone.input_size
    session = runtime("onnxruntime").load(_data(run, name), 1, "optimized")
    pixels, times_ms = np.zeros((1, size, size, 3), np.uint8), []
    for _ in range(200):
        started = time.perf_counter_ns()
        session.predict(pixels)
        times_ms.append((time.perf_counter_ns() - started) / 1e6)
    return float(np.percentile(times_ms, 95))


@pytest.mark.long
def test_a_slowdown_fails_the_latency_gate_and_is_measured_against_the_float_artifact(small_copy: Run) -> None:
    """The int8 artifact gets work that changes no answer: it is then slower than float, and over a budget it kept."""
    both = ["onnx-float32", "onnx-int8"]
    limit_ms = 2 * max(_p95_ms(small_copy, name) for name in both)

    def change(model: Any) -> None:
        (answer,) = [value.name for value in model.graph.output]
        for node in model.graph.node:
            node.output[:] = ["before" if name == answer else name for name in node.output]
        work = [helper.make_node("MatMul", ["before", "wide"], ["work0"])]
        work += [helper.make_node("MatMul", [f"work{i}", "square"], [f"work{i + 1}"]) for i in range(100)]
        work += [helper.make_node("ReduceMax", ["work100"], ["most"], keepdims=1)]
        work += [
            helper.make_node("Mul", ["most", "zero"], ["none"]),
            helper.make_node("Add", ["before", "none"], [answer]),
        ]
        model.graph.node.extend(work)
        classes = len(small_copy.manifest.labels)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.zeros((classes, 700), np.float32), "wide"),
                numpy_helper.from_array(np.zeros((700, 700), np.float32), "square"),
                numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero"),
            ]
        )

    replace_artifact(small_copy, "onnx-int8", rewrite_onnx(_data(small_copy, "onnx-int8"), change))
    limited = Wanted(limits={"max_p95_latency_ms": limit_ms}, protocol="quick")
    report = verify(small_copy, format_names=both, target="cpu-single-core", wanted=limited)
    rows = {row.format: row for row in report.rows}
    assert "max_p95_latency_ms" in _failed(rows["onnx-int8"])
    (against_float,) = [one for one in rows["onnx-int8"].speedups if one.against.startswith("onnx-float32")]
    assert against_float.verdict == "slower"
    assert against_float.ratio < 0.5  # twice as slow at least
    assert any("slower than onnx-float32" in warning for warning in rows["onnx-int8"].warnings)
