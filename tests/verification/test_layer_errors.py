"""Where an int8 artifact departs from its float one, on real exports of a real run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import rewrite_onnx, rewrite_tflite

from tledge.bench.bench import Bench, TimeLimits
from tledge.bench.photos import lay_out
from tledge.progress import Silent
from tledge.records import ExportRecord, LayerReport
from tledge.run import Run
from tledge.runtimes import runtimes
from tledge.verification.layer_errors import layer_reports
from tledge.workers.place import Here

Exported = tuple[Run, dict[str, ExportRecord]]
ALL = list(runtimes().values())
PAIRS = {"tflite-int8": ("tflite-float32", "litert"), "onnx-int8": ("onnx-float32", "onnxruntime")}


@pytest.fixture(scope="session")
def bench(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Forty test photos of the run."""
    from tledge.datasets.run_photos import load_split

    run, folder = exported[0], tmp_path_factory.mktemp("bench")
    pixels = load_split(run, "test", Silent()).pixels[:40]
    photos = lay_out(folder / "pixels", [pixels], 40, run.manifest.backbone.input_size, Silent(), "laying out")
    return Bench(Here(folder), photos, len(run.manifest.labels))


@pytest.fixture(scope="session")
def artifacts(exported: Exported) -> dict[str, Path]:
    run, records = exported
    return {name: run.export_folder(name) / record.file for name, record in records.items()}


@pytest.fixture(scope="session")
def reports(artifacts: dict[str, Path], bench: Bench) -> dict[str, LayerReport]:
    return {report.artifact: report for report in layer_reports(artifacts, ALL, bench, Silent())}


def one_report(artifacts: dict[str, Path], bench: Bench, name: str, int8: Path) -> LayerReport:
    (report,) = layer_reports({name: int8, PAIRS[name][0]: artifacts[PAIRS[name][0]]}, ALL, bench, Silent(), 4)
    return report


def tflite_weights(model: Any, number: int) -> tuple[Any, str]:
    """The buffer of the weights of a convolution, by its place among them, and the name of its output."""
    from tensorflow.lite.tools import flatbuffer_utils

    graph = model.subgraphs[0]
    convolutions = [
        operator
        for operator in graph.operators
        if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) == "CONV_2D"
    ]
    chosen = convolutions[number]
    return model.buffers[graph.tensors[chosen.inputs[1]].buffer], graph.tensors[chosen.outputs[0]].name.decode()


def test_each_int8_artifact_is_compared_with_the_float_one_of_its_family(reports: dict[str, LayerReport]) -> None:
    assert {(report.artifact, report.against) for report in reports.values()} == {
        (f"{name} on {runtime}", f"{against} on {runtime}") for name, (against, runtime) in PAIRS.items()
    }
    assert {report.num_photos for report in reports.values()} == {16}


def test_every_layer_of_a_real_export_is_compared(reports: dict[str, LayerReport], artifacts: dict[str, Path]) -> None:
    """The note says too that the answers were those of the deployed artifact, to the last bit of a code: else it is longer."""
    import onnx
    from ai_edge_litert.tools import flatbuffer_utils

    # The float model scales the pixels; the int8 one takes them as codes of what it computes with.
    for report in reports.values():
        assert re.fullmatch(r"Not compared: [1-3] only in the float model: [^.]*\.", report.note), report.note
    nodes = onnx.load(artifacts["onnx-int8"]).graph.node
    form = {"QuantizeLinear", "DequantizeLinear", "Transpose", "Squeeze", "Reshape"}
    expected = {node.name for node in nodes if node.op_type not in form}
    assert {layer.name for layer in reports["onnx-int8 on onnxruntime"].layers} == expected

    model = flatbuffer_utils.read_model(artifacts["tflite-int8"])
    graph = model.subgraphs[0]
    names = {
        graph.tensors[operator.outputs[0]].name.decode()
        for operator in graph.operators
        if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) not in ("QUANTIZE", "RESHAPE", "PAD")
    }
    assert {layer.name for layer in reports["tflite-int8 on litert"].layers} == names


def test_a_sound_export_has_no_broken_layer_and_the_worst_comes_first(reports: dict[str, LayerReport]) -> None:
    for report in reports.values():
        own = [layer.own_sqnr_db for layer in report.layers if layer.own_sqnr_db is not None]
        assert own == sorted(own)
        assert own[0] > 15  # a layer of 8 bits that uses an eighth of its codes
        assert all(layer.own_sqnr_db is None for layer in report.layers[len(own) :])
        assert min(layer.cosine for layer in report.layers) > 0.8


@pytest.mark.parametrize("number", [3, 12, -1])
def test_corrupted_weights_of_a_tflite_layer_come_out_worst(
    artifacts: dict[str, Path], bench: Bench, tmp_path: Path, number: int
) -> None:
    names = []

    def corrupt(model: Any) -> None:
        buffer, name = tflite_weights(model, number)
        buffer.data = np.random.default_rng(0).permutation(np.asarray(buffer.data, np.uint8))
        names.append(name)

    (tmp_path / "bad.tflite").write_bytes(rewrite_tflite(artifacts["tflite-int8"].read_bytes(), corrupt))
    found = one_report(artifacts, bench, "tflite-int8", tmp_path / "bad.tflite")
    worst, next_worst = found.layers[:2]
    assert worst.name == names[0]
    assert worst.own_sqnr_db is not None and next_worst.own_sqnr_db is not None
    assert worst.own_sqnr_db < 10 < next_worst.own_sqnr_db


@pytest.mark.parametrize("number", [3, 12, -1])
def test_corrupted_weights_of_an_onnx_layer_come_out_worst(
    artifacts: dict[str, Path], bench: Bench, tmp_path: Path, number: int
) -> None:
    from onnx import numpy_helper

    names = []

    def corrupt(model: Any) -> None:
        convolution = [node for node in model.graph.node if node.op_type == "Conv"][number]
        names.append(convolution.name)
        (dequantizer,) = (node for node in model.graph.node if convolution.input[1] in node.output)
        (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == dequantizer.input[0])
        codes = numpy_helper.to_array(weights)
        shuffled = np.random.default_rng(0).permutation(codes.ravel()).reshape(codes.shape)
        weights.CopyFrom(numpy_helper.from_array(shuffled, weights.name))

    (tmp_path / "bad.onnx").write_bytes(rewrite_onnx(artifacts["onnx-int8"].read_bytes(), corrupt))
    found = one_report(artifacts, bench, "onnx-int8", tmp_path / "bad.onnx")
    worst, next_worst = found.layers[:2]
    assert worst.name == names[0]
    assert worst.own_sqnr_db is not None and next_worst.own_sqnr_db is not None
    assert worst.own_sqnr_db < 10 < next_worst.own_sqnr_db


def test_an_activation_scale_16_times_too_small_comes_out_worst(
    artifacts: dict[str, Path], bench: Bench, tmp_path: Path
) -> None:
    from tensorflow.lite.tools import flatbuffer_utils

    names = []

    def shrink(model: Any) -> None:
        graph = model.subgraphs[0]
        kinds = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
        mean = graph.tensors[graph.operators[kinds.index("MEAN")].outputs[0]]
        # A bias is in units of the input's scale times the weights': a bad range leaves its real value as it is.
        bias = graph.tensors[graph.operators[kinds.index("FULLY_CONNECTED")].inputs[2]]
        for tensor in (mean, bias):
            tensor.quantization.scale = np.asarray(tensor.quantization.scale) / 16
        codes = np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.int32) * 16
        model.buffers[bias.buffer].data = codes.view(np.uint8)
        names.append(mean.name.decode())

    (tmp_path / "bad.tflite").write_bytes(rewrite_tflite(artifacts["tflite-int8"].read_bytes(), shrink))
    found = one_report(artifacts, bench, "tflite-int8", tmp_path / "bad.tflite")
    assert [found.layers[0].name] == names


@pytest.mark.parametrize("name", PAIRS)
def test_an_artifact_compared_with_itself_is_equal_in_every_layer(
    artifacts: dict[str, Path], bench: Bench, name: str
) -> None:
    real = artifacts[PAIRS[name][0]]
    found = one_report(artifacts, bench, name, real)
    assert found.note == ""
    assert len(found.layers) > 40
    assert {(layer.sqnr_db, layer.cosine) for layer in found.layers} == {(None, 1.0)}


def test_a_missing_float_artifact_is_named_with_the_command_that_makes_it(
    artifacts: dict[str, Path], bench: Bench
) -> None:
    (report,) = layer_reports({"onnx-int8": artifacts["onnx-int8"]}, ALL, bench, Silent())
    assert (report.layers, report.num_photos) == ([], 0)
    assert "tledge export --format onnx-float32" in report.note


def test_without_an_int8_artifact_there_is_nothing_to_report(artifacts: dict[str, Path], bench: Bench) -> None:
    assert layer_reports({"tflite-float32": artifacts["tflite-float32"]}, ALL, bench, Silent()) == []


@pytest.mark.parametrize("name", PAIRS)
def test_a_broken_artifact_is_a_report_that_tells_why_and_spares_the_others(
    artifacts: dict[str, Path], bench: Bench, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / f"broken{artifacts[name].suffix}"
    broken.write_bytes(artifacts[name].read_bytes()[:1000])
    found = {report.artifact: report for report in layer_reports({**artifacts, name: broken}, ALL, bench, Silent(), 1)}
    bad = found.pop(f"{name} on {PAIRS[name][1]}")
    assert (bad.layers, bad.num_photos) == ([], 0)
    assert "could not be compared" in bad.note
    assert all(report.layers for report in found.values())


def test_a_comparison_that_takes_too_long_is_ended(artifacts: dict[str, Path], bench: Bench) -> None:
    from dataclasses import replace

    hurried = replace(bench, limits=TimeLimits(start_s=0.01, photo_s=0.0))
    assert {report.note for report in layer_reports(artifacts, ALL, hurried, Silent())} == {
        "The layers could not be compared: no answer within 0 s"
    }


def test_nothing_is_left_in_the_bench(bench: Bench, reports: dict[str, LayerReport]) -> None:
    assert [path.name for path in bench.photos.path.parent.iterdir()] == ["pixels"]


def test_no_module_of_the_comparing_process_imports_tensorflow() -> None:
    import subprocess
    import sys

    program = (
        "import sys, tledge.workers.layer_comparison\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tf_keras', 'keras')])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
