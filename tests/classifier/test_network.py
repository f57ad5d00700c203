"""A network is cut, saved, built again and made the original, and computes the same all the time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import Backbone, open_backbone
from tledge.backbones.cuts import cut_below, cut_points, split
from tledge.cache import RowCache
from tledge.classifier.network import NETWORK, HeadShape, classifier, load_network, save_network, set_head
from tledge.errors import ArtifactError, InputError
from tledge.progress import Silent
from tledge.training import saved_model
from tledge.training.batch_norm import estimate_again
from tledge.training.placement import placed
from tledge.training.recipe import RECIPES

PHOTOS = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
SCALED = PHOTOS.astype(np.float32) / 255
HEAD = HeadShape((7,), 3, 0.5)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """AlexNet at 64 pixels: convolutions, pooling, batch normalizations, dense layers."""
    from tledge.tensorflow_setup import tensorflow

    tensorflow(0)
    return open_backbone("alexnet", 64)


@pytest.fixture(scope="module")
def network(backbone: Backbone) -> Any:
    made = classifier(backbone, HEAD, 0, keeps_statistics=False)
    rng = np.random.default_rng(1)
    width = backbone.feature_dim
    kernels = rng.normal(0, 0.1, (width, 7)), rng.normal(0, 0.1, (7, 3))
    set_head(made, [(kernels[0], np.zeros(7)), (kernels[1], np.ones(3))])
    return made


def test_the_layers_above_every_cut_give_the_network_again(network: Any) -> None:
    expected = network(SCALED).numpy()
    points = cut_points(network)
    assert len(points) > 10
    for name in points[:: len(points) // 4]:
        lower, upper = split(network, name)
        np.testing.assert_allclose(upper(lower(SCALED)).numpy(), expected, atol=1e-5)
        assert upper.layers[-1] is network.layers[-1]


def test_a_residual_is_never_cut() -> None:
    graph = open_backbone("keras:MobileNetV2", 32, "none").graph
    points = cut_points(graph)
    assert "block_2_add" in points
    assert "block_2_project_BN" not in points
    assert cut_below(graph, "block_13") == "block_12_add"
    assert cut_below(graph, "block_2_project") == "block_1_project_BN"
    with pytest.raises(InputError, match="Did you mean 'block_1"):
        cut_below(graph, "blok_13")


def test_a_saved_network_is_built_again_and_computes_the_same(network: Any, backbone: Backbone, tmp_path: Path) -> None:
    save_network(network, backbone, HEAD, tmp_path)
    again = load_network(tmp_path)
    np.testing.assert_array_equal(again(SCALED).numpy(), network(SCALED).numpy())
    described = json.loads((tmp_path / NETWORK).read_text())
    (tmp_path / NETWORK).write_text(json.dumps({**described, "hidden_units": [8]}))
    with pytest.raises(ArtifactError, match="Build the run again"):
        load_network(tmp_path)


def test_the_original_takes_bytes_and_gives_the_networks_logits(network: Any) -> None:
    original = saved_model.of_network(network, 64)
    served = original.serve(PHOTOS)
    np.testing.assert_allclose(served["logits"].numpy(), network(SCALED).numpy(), atol=1e-4)
    np.testing.assert_allclose(served["probabilities"].numpy().sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNet", "VGG16"])  # one number for all channels, one for each
def test_the_scaling_of_a_keras_network_is_arithmetic_in_the_original(name: str) -> None:
    keras = classifier(open_backbone(f"keras:{name}", 32, "none"), HeadShape((), 3, 0), 0, keeps_statistics=True)
    set_head(keras, [(np.random.default_rng(0).normal(size=(keras.layers[-2].output_shape[-1], 3)), np.zeros(3))])
    small = PHOTOS[:, ::2, ::2]
    expected = keras(small.astype(np.float32) / 255).numpy()
    original = saved_model.of_network(keras, 32)
    found = original.serve(small)["logits"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


def test_statistics_estimated_again_are_those_of_the_photos(network: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path))
    import tf_keras

    cache = RowCache("photos", PHOTOS.shape[1:], np.uint8)
    keys = [bytes([number]) * 32 for number in range(6)]
    cache.add(zip(keys, PHOTOS, strict=True), 6)
    first = next(layer for layer in network.layers if isinstance(layer, tf_keras.layers.BatchNormalization))
    momentum = first.momentum
    estimate_again(network, cache.rows(keys), Silent())
    before, _ = split(network, first.name)
    inputs = tf_keras.Model(before.input, first.input)(SCALED).numpy()
    np.testing.assert_allclose(first.moving_mean.numpy(), inputs.mean(axis=(0, 1, 2)), atol=1e-4)
    assert first.momentum == momentum


def test_on_several_devices_a_copy_is_trained_with_the_same_weights(network: Any, backbone: Backbone) -> None:
    recipe = RECIPES["scratch"].model_copy(update={"strategy": "mirrored"})
    with placed(network, backbone, HEAD, recipe) as copy:
        assert copy is not network
        np.testing.assert_allclose(copy(SCALED).numpy(), network(SCALED).numpy(), atol=1e-5)
    with placed(network, backbone, HEAD, RECIPES["scratch"]) as same:
        assert same is network
