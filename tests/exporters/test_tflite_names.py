"""Names of tensors in TFLite files: one for each, and a layer's weights under the layer's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_models import int8_tflite, rewrite_tflite

from tledge.audit.flatbuffer import read_tflite
from tledge.exporters.tflite_names import name_tensors
from tledge.run import Run
from tledge.stages import export


def _names(data: bytes) -> list[str]:
    return [tensor.name for graph in read_tflite(data).subgraphs for tensor in graph.tensors]


@pytest.mark.parametrize("name", ["tflite-float16", "tflite-int8"])
def test_a_person_finds_the_weights_of_a_layer_by_its_name(lenet_copy: Run, name: str) -> None:
    (made,) = export(lenet_copy, [name])
    (graph,) = read_tflite(Path(lenet_copy.export_folder(name), made.file).read_bytes()).subgraphs
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    sizes = {"c1": 3 * 25 * 6, "c3": 6 * 25 * 16, "c5": 400 * 120, "f6": 120 * 84, "logits": 84 * 10}
    packed = "/float16" if name == "tflite-float16" else ""
    for layer, size in sizes.items():
        found = [name for name in tensors if name.startswith(f"{layer}/weights") or name == f"MatMul/weights{packed}"]
        assert any(tensors[name].num_elements == size for name in found), layer


def test_tensors_that_a_converter_called_alike_are_told_apart() -> None:
    def all_alike(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = b"model_3/layer/Relu;model_3/layer/BiasAdd;model_3/layer/Conv2D"

    alike = rewrite_tflite(int8_tflite(), all_alike)
    assert len(set(_names(alike))) == 1
    told_apart = _names(rewrite_tflite(alike, name_tensors))
    assert len(set(told_apart)) == len(told_apart)
    assert {"pixels", "probabilities", "layer/weights", "layer/weights_2", "layer/Relu"} <= set(told_apart)


def test_a_tensor_without_a_name_gets_one() -> None:
    def nameless(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = None

    names = _names(rewrite_tflite(rewrite_tflite(int8_tflite(), nameless), name_tensors))
    assert len(set(names)) == len(names)
    assert all(names)
