"""Classifiers of flowers that PyTorch and Keras 3 trained are imported by one command, and answer as their authors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tledge.importing.stage import import_model

from .small_classifiers import REAL_MODELS

pytestmark = pytest.mark.long


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize(
    ("file", "accuracy", "scale", "resizes"),
    [
        ("flowers_torch_mobilenet_v2.onnx", 0.9147, "scale=imagenet", ("crop:256", "crop:256,bicubic")),
        ("flowers_keras3_mobilenet_v2.keras", 0.8905, "scale=0..255", ("squeeze,no-antialias",)),
    ],
)
def test_what_a_real_model_takes_is_found_and_its_accuracy_is_the_one_that_is_known(
    file: str, accuracy: float, scale: str, resizes: tuple[str, ...], tmp_path: Path
) -> None:
    path = REAL_MODELS / file
    if not path.is_file():
        pytest.skip(f"needs a real model: {file} in the folder models beside TFHUB_CACHE_DIR")
    run = import_model(str(path), "tf_flowers", run="one", artifacts=tmp_path)
    found = run.manifest.imported
    assert found is not None
    size, resize, *normalization = found.preparation.split()
    assert size in ("size=224", "size=160")
    assert resize.partition("=")[2] in resizes
    assert normalization == [scale, "order=rgb"]
    assert found.class_order == "the alphabet's"
    assert run.manifest.labels == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    test = run.manifest.metrics["test"]
    assert test.num_photos == 539
    assert test.accuracy == pytest.approx(accuracy, abs=0.002)
    assert found.max_abs_difference <= 1e-5 * found.output_range
    assert found.layers_unknown is None
