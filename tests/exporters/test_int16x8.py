"""int16 activations with int8 weights: fitted weights where the layers are known, and ranges of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tledge.audit import audit
from tledge.bench.answers import softmax
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.stages import export

Exported = tuple[Run, dict[str, ExportRecord]]


def test_every_product_is_of_int16_by_int8_and_only_the_edges_are_float(exported: Exported) -> None:
    found = exported[1]["tflite-int16x8"].audit
    products = {op.name: op.data_type for op in found.operators if op.name.endswith(("CONV_2D", "FULLY_CONNECTED"))}
    assert set(products) == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert set(products.values()) == {"int16 with int64+int8 to int16"}
    assert found.names_of("float", "hybrid") == ["DEQUANTIZE (int16 to float32) x1", "QUANTIZE (float32 to int16) x1"]
    assert found.names_of("boundary") == ["CAST (uint8 to float32) x1"]
    assert found.integer_mac_share == 1.0


def test_it_answers_nearer_to_the_original_than_int8(
    exported: Exported, answers_to_test_photos: Callable[[Run, str], np.ndarray]
) -> None:
    run = exported[0]
    with np.load(run.folder / "reference.npz") as stored:
        wanted = softmax(stored["logits"])
    wide, narrow = (
        np.abs(answers_to_test_photos(run, name) - wanted).mean() for name in ("tflite-int16x8", "tflite-int8")
    )
    assert wide < narrow / 2


def test_the_record_claims_the_fitted_weights_and_not_the_ranges_of_int8(exported: Exported) -> None:
    options = exported[1]["tflite-int16x8"].options
    assert options["fitting"].startswith("least squares")
    assert options["ranges"] == "min-max"
    assert not {"input_scale", "input_zero_point", "range_stability"} & set(options)


def test_a_network_of_unknown_layers_has_it_too_and_the_record_says_that_nothing_was_fitted(small_run: Run) -> None:
    (made,) = export(small_run, ["tflite-int16x8"])
    assert made.options["fitting"].startswith("none: ")
    found = audit(Path(small_run.export_folder(made.format), made.file))
    assert "CONV_2D (int16 with int64+int8 to int16) x1" in found.names_of("integer")
