"""What is inside artifacts whose networks were trained again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_models import most_significant_bits

from tledge.audit import broken_promises
from tledge.records import ExportRecord
from tledge.run import Run

Exported = tuple[Run, dict[str, ExportRecord]]
pytestmark = pytest.mark.long  # its files are trained


def _operands(path: Path, place: int, *kinds: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every operator of these kinds in a TFLite file, the codes of what it reads at that place, and their scales."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    graph, wanted = model.subgraphs[0], {getattr(schema.BuiltinOperator, kind) for kind in kinds}
    found = [
        graph.tensors[operator.inputs[place]]
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode in wanted
    ]
    return [(np.asarray(model.buffers[one.buffer].data), np.asarray(one.quantization.scale)) for one in found]


def _kernels(path: Path) -> list[np.ndarray]:
    """The codes of every int8 kernel of a TFLite file that is no depthwise one."""
    return [codes for codes, _ in _operands(path, 1, "CONV_2D", "FULLY_CONNECTED")]


def test_the_record_says_how_it_was_trained(exported: Exported) -> None:
    for name in ("tflite-int8-qat", "onnx-int8-qat", "tflite-int8-pruned", "tflite-int8-pruned-clustered"):
        options = exported[1][name].options
        assert options["epochs"] == 1
        assert len(options["validation_losses"]) == 2
        losses = options["validation_losses"]
        assert losses[options["kept_epoch"]] == min(losses)
        assert options.get("sparsity") == (0.5 if "pruned" in name else None)


def test_both_formats_of_one_training_decide_alike(
    exported: Exported, answers_to_test_photos: Callable[..., np.ndarray]
) -> None:
    tflite, onnx = (answers_to_test_photos(exported[0], name) for name in ("tflite-int8-qat", "onnx-int8-qat"))
    assert np.mean(tflite.argmax(1) == onnx.argmax(1)) >= 0.99


def test_a_pruned_artifact_holds_the_zeros_that_were_asked_for_and_another_does_not(exported: Exported) -> None:
    run = exported[0]
    pruned, plain = (
        [float(np.mean(kernel == 0)) for kernel in _kernels(run.export_folder(name) / "model.tflite")]
        for name in ("tflite-int8-pruned", "tflite-int8")
    )
    assert len(pruned) == len(plain) > 30
    assert exported[1]["tflite-int8-pruned"].options["zeros"] == pytest.approx(0.5, abs=0.01)
    assert np.median(pruned) >= 0.49
    assert np.mean(plain) < 0.2


def test_what_is_left_of_large_pruned_layers_has_few_codes_and_compresses_to_less(exported: Exported) -> None:
    run, records = exported
    pruned, plain = (
        [kernel for kernel in _kernels(run.export_folder(name) / "model.tflite") if kernel.size >= 2048]
        for name in ("tflite-int8-pruned", "tflite-int8")
    )
    assert max(len(np.unique(kernel)) for kernel in pruned) <= records["tflite-int8-pruned"].options["codes"] == 65
    assert max(len(np.unique(kernel)) for kernel in plain) > 65
    assert records["tflite-int8-pruned"].compressed_bytes < 0.8 * records["tflite-int8"].compressed_bytes


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("tflite-int8-pruned", {"zeros": 0.6}, "and 0.6 is declared"),
        ("tflite-int8-pruned", {"zeros": "half"}, "and half is declared"),
        ("tflite-int8-pruned", {"codes": 40}, "different weights, and 40 are declared"),
        ("tflite-int8-clustered", {"codes": 4}, "different weights, and 4 are declared"),
        ("tflite-int8-clustered", {"zeros": 0.9}, "and 0.9 is declared"),
        ("tflite-float32", {"zeros": 0.1}, "zero is 0.0000, and 0.1 is declared"),
    ],
)
def test_zeros_and_codes_that_a_record_declares_are_counted_in_the_file(
    exported: Exported, name: str, changes: dict[str, object], said: str
) -> None:
    record = exported[1][name]
    assert broken_promises(record.audit, record.promise, record.file, record.options) == []
    (problem,) = broken_promises(record.audit, record.promise, record.file, {**record.options, **changes})
    assert said in problem


def test_the_audit_counts_what_the_kernels_hold(exported: Exported) -> None:
    run, records = exported
    for name in ("tflite-int8", "tflite-int8-pruned", "tflite-int8-clustered"):
        kernels, found = _kernels(run.export_folder(name) / "model.tflite"), records[name].audit
        values = np.concatenate(kernels)
        assert found.zero_weight_share == pytest.approx(np.mean(values == 0))
        assert found.most_weight_codes == max(len(np.unique(kernel)) for kernel in kernels if kernel.size >= 2048)
    assert records["tflite-float32"].audit.zero_weight_share is None
    assert records["onnx-int8"].audit.most_weight_codes is None


def test_where_codes_are_few_scales_and_biases_take_few_bits_too(exported: Exported) -> None:
    kinds = "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"
    zeros = {}
    for name in ("tflite-int8", "tflite-int8-clustered", "tflite-int8-pruned"):
        path = exported[0].export_folder(name) / "model.tflite"
        weights, biases = (_operands(path, place, *kinds) for place in (1, 2))
        is_short = name != "tflite-int8"
        assert (max(most_significant_bits(scales) for _, scales in weights) <= 4) == is_short
        # The first layer reads pixels, whose scale is as it is.
        assert (max(most_significant_bits(scales) for _, scales in biases[1:]) <= 4 + 2) == is_short
        codes = np.concatenate([values.view(np.int32) for values, _ in biases])
        zeros[name] = np.mean(codes % 16 == 0)
    assert zeros["tflite-int8"] < 0.2
    assert min(zeros["tflite-int8-clustered"], zeros["tflite-int8-pruned"]) > 0.5


def test_training_again_in_a_process_that_did_nothing_else_gives_the_same_bytes(
    exported: Exported, run_copy: Run
) -> None:
    asked = ["--format", "tflite-int8-qat", "--epochs", "1", "--artifacts", run_copy.folder.parent, "--json"]
    command = [sys.executable, "-m", "tledge", "export", *map(str, asked)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    (again,) = json.loads(ended.stdout)["exports"]
    assert again["sha256"] == exported[1]["tflite-int8-qat"].sha256
    assert again["options"] == exported[1]["tflite-int8-qat"].options
