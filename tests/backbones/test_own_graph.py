"""What fails in the graph of a stranger's backbone is told by the backbone's name, and is no bug of tledge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import two_classes

from tledge.backbones.own_graph import errors_of
from tledge.errors import InputError

USER = 2


def test_a_backbone_that_can_not_take_one_photo_is_named_by_export(
    tledge: Callable[..., Any], save_module: Callable[..., Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    def pairs(
        pixels: tf.Tensor,
    ) -> tf.Tensor:  # the batches of the build are even, and a file for a device takes one photo
        paired = tf.reshape(pixels[:, 0, 0, 0], (-1, 2))
        return tf.reshape(tf.nn.avg_pool2d(pixels, 4, 4, "VALID"), (-1, 48)) + 0.0 * paired[:1, :1]

    module, where = save_module(pairs), ("--artifacts", tmp_path / "artifacts")
    built = tledge("build", "--dataset", two_classes(tmp_path / "photos"), "--backbone", module, "--run", "x", *where)
    assert built.code == 0, built.err
    outcome = tledge("export", "--format", "tflite-float32", *where)
    assert outcome.code == USER, outcome.err
    assert f"backbone {module} fails in its own graph: " in outcome.err
    assert "Dimension size must be evenly divisible by 2 but is 1" in outcome.err
    assert "Choose another --backbone." in outcome.err


def test_only_errors_of_a_graph_of_a_stranger_are_told_by_its_name(tmp_path: Path) -> None:
    import tensorflow as tf

    failed = tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [2] vs. [3]")
    told = r"fails in its own graph: Incompatible shapes: \[2\] vs. \[3\]\. Choose"
    with pytest.raises(InputError, match=told), errors_of(str(tmp_path)):
        raise failed
    for handle, error in (("bundled", failed), ("lenet", failed), (str(tmp_path), ValueError("a bug"))):
        with pytest.raises(type(error)), errors_of(handle):
            raise error
    with pytest.raises(tf.errors.ResourceExhaustedError), errors_of(str(tmp_path)):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")
