"""Networks of tf_keras.applications: each gets what it was trained to take, and is one flat graph."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import Backbone, open_backbone, rebuild_flat
from tledge.backbones.sources import keras_applications
from tledge.errors import ArtifactError, EnvironmentFault, InputError

PHOTOS = np.random.default_rng(0).random((2, 32, 32, 3), np.float32) * np.float32([[[[1.0]]], [[[0.5]]]])
NETWORKS = {"MobileNet": 32, "VGG16": 32, "InceptionV3": 75}  # at their smallest size; Inception's layers have no names

_NO_TOP: dict[str, Any] = {"include_top": False, "weights": None, "pooling": "avg"}


@pytest.fixture(scope="module")
def opened() -> dict[str, Backbone]:
    """One backbone a network, its weights random. Read only."""
    return {name: open_backbone(f"keras:{name}", size, "none") for name, size in NETWORKS.items()}


@pytest.fixture(scope="module")
def randomised() -> dict[str, Any]:
    """Networks as Keras makes them, every weight drawn anew. Read only."""
    return {name: _randomised(_bare(name)) for name in ("MobileNet", "VGG16")}


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home folder without weights, and a proxy that nobody answers at."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # it keeps the proxies of the first call
    yield tmp_path
    urllib.request.install_opener(None)  # type: ignore[arg-type]


def _bare(name: str, size: int = 32) -> Any:
    """The network as Keras makes it, which is what a file of weights is made of."""
    constructor = keras_applications.constructors()[name]
    return constructor(**_NO_TOP, input_shape=(size, size, 3))


def _randomised(network: Any) -> Any:
    """All its weights drawn anew, biases and statistics too, so that no two channels are alike."""
    rng = np.random.default_rng(1)

    def drawn(shape: tuple[int, ...]) -> Any:
        if len(shape) < 2:
            return rng.uniform(0.5, 1.5, shape)
        fan_in = np.prod(shape[:-1] if shape[-1] > 1 else shape[:2])  # of a depthwise kernel: one channel
        return rng.normal(0, np.sqrt(2 / fan_in), shape)

    network.set_weights([np.asarray(drawn(values.shape), values.dtype) for values in network.get_weights()])
    return network


def _assert_same(features: Any, expected: Any) -> None:
    """They differ by far less than the two photos do: features that hardly see the photos would prove nothing."""
    features, expected = np.asarray(features), np.asarray(expected)
    assert np.abs(features - expected).max() <= 1e-3 * np.abs(expected[0] - expected[1]).max()


def _assert_flat(graph: Any) -> None:
    """Every layer stands alone, and every weight has a name of its own."""
    import tf_keras

    assert not [layer for layer in graph.layers if isinstance(layer, tf_keras.Model | tf_keras.layers.Lambda)]
    names = [weight.name for weight in graph.weights]
    assert len(set(names)) == len(names)


def _flat_with_weights(network: Any, family: str) -> Any:
    """What becomes of a network of the family, small enough for a test."""
    before = keras_applications.preprocessing(family)
    graph = keras_applications._flat(network, before)
    keras_applications._transfer(network, graph, before, published=False)
    return graph


def _saved(network: Any, folder: Path, name: str = "weights.h5") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    network.save_weights(folder / name)
    return folder / name


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_a_flat_graph_of_named_layers(opened: dict[str, Backbone], name: str) -> None:
    backbone = opened[name]
    graph = backbone.graph
    assert graph is backbone.layer
    assert (graph.input_shape, graph.output_shape) == ((None, *[NETWORKS[name]] * 2, 3), (None, backbone.feature_dim))
    assert [layer.name for layer in graph.layers[:2]] == ["images", "rescale"]
    assert not graph.get_layer("rescale").trainable
    _assert_flat(graph)


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_is_built_again_from_its_structure(opened: dict[str, Backbone], name: str) -> None:
    backbone = opened[name]
    assert backbone.structure == {"kind": "keras_applications", "network": name, "input_size": NETWORKS[name]}
    again = rebuild_flat(backbone.structure)
    assert [layer.name for layer in again.layers] == [layer.name for layer in backbone.graph.layers]
    assert [weight.name for weight in again.weights] == [weight.name for weight in backbone.graph.weights]
    again.set_weights(backbone.graph.get_weights())
    photos = np.random.default_rng(0).random((2, *again.input_shape[1:]), np.float32)
    features = np.asarray(backbone.layer(photos, training=False))
    assert np.ptp(features) > 0
    assert np.array_equal(again(photos, training=False), features)


@pytest.mark.parametrize("name", ["VGG16", "MobileNet"])
def test_features_are_those_of_the_network_after_its_own_preprocessing(
    randomised: dict[str, Any], name: str, tmp_path: Path
) -> None:
    network = randomised[name]
    backbone = open_backbone(f"keras:{name}", 32, str(_saved(network, tmp_path)))
    preprocess = vars(sys.modules[keras_applications.constructors()[name].__module__])["preprocess_input"]
    expected = np.asarray(network(preprocess(PHOTOS * 255), training=False))
    assert backbone.is_pretrained
    _assert_same(backbone.layer(PHOTOS, training=False), expected)


def test_models_inside_a_convnext_are_laid_out_and_its_own_layer_becomes_a_plain_one() -> None:
    from tf_keras.src.applications.convnext import ConvNeXt

    network = _randomised(
        ConvNeXt((1, 2, 1, 1), (8, 16, 16, 24), include_preprocessing=False, **_NO_TOP, input_shape=(32, 32, 3))
    )
    graph = _flat_with_weights(network, "ConvNeXtTiny")
    before = keras_applications.preprocessing("ConvNeXtTiny")
    expected = np.asarray(network(np.float32(before.scale * PHOTOS + before.offset), training=False))
    _assert_same(graph(PHOTOS, training=False), expected)
    _assert_flat(graph)
    assert not [layer for layer in graph.layers if type(layer).__name__ == "LayerScale"]


def test_a_network_that_takes_what_it_is_given_gets_no_layer_before_it() -> None:
    from tf_keras.src.applications.regnet import RegNet

    network = _randomised(
        RegNet((1, 1, 1, 1), (8, 8, 16, 16), 8, "X", 32, "regnetx", False, **_NO_TOP, input_shape=(32, 32, 3))
    )
    graph = _flat_with_weights(network, "RegNetX002")
    assert [layer.name for layer in graph.layers[1:]] == [layer.name for layer in network.layers[1:]]
    assert np.array_equal(graph(PHOTOS, training=False), network(PHOTOS, training=False))


def test_every_network_gets_what_its_module_and_its_own_first_layers_make(monkeypatch: pytest.MonkeyPatch) -> None:
    import tf_keras

    class Reached(Exception):
        pass

    def stop(_: Any, pixels: Any) -> None:
        raise Reached(pixels)

    with monkeypatch.context() as patch:
        for first in (tf_keras.layers.Conv2D, tf_keras.layers.ZeroPadding2D, tf_keras.Sequential):
            patch.setattr(first, "__call__", stop, raising=False)
        given = {}
        for name, constructor in keras_applications.constructors().items():
            with pytest.raises(Reached) as caught:
                constructor(include_top=False, weights=None, input_shape=(96, 96, 3))
            given[name] = caught.value.args[0]
    for name, constructor in keras_applications.constructors().items():
        if constructor.__module__.endswith("efficientnet"):
            continue  # has it in its weights, which a test of its own looks at
        preprocess = vars(sys.modules[constructor.__module__])["preprocess_input"]
        photos = np.random.default_rng(0).random((1, 96, 96, 3), np.float32)
        inputs = tf_keras.utils.get_source_inputs(given[name])
        expected = np.asarray(tf_keras.Model(inputs, given[name])(preprocess(photos * 255)))
        before = keras_applications.preprocessing(name)
        ours = before.scale * photos + before.offset
        assert np.allclose(ours[..., ::-1] if before.is_bgr else ours, expected, atol=1e-3), name


def test_sizes_are_those_that_keras_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    from tf_keras.src.applications import imagenet_utils

    class Asked(Exception):
        pass

    def ask(_: Any, **asked: Any) -> None:
        raise Asked(asked["min_size"], asked["default_size"])

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", ask)
    names = keras_applications.constructors()
    for name, constructor in names.items():
        if "MobileNetV3" in name:  # has code of its own in place of this function
            assert (keras_applications.min_size(name), keras_applications.default_size(name)) == (32, 224)
            continue
        with pytest.raises(Asked) as caught:
            constructor(weights=None, include_top=False, input_shape=(224, 224, 3))
        assert caught.value.args == (keras_applications.min_size(name), keras_applications.default_size(name)), name
    assert len(names) > 60


def test_the_published_statistics_of_efficientnet_are_read_as_keras_reads_them() -> None:
    from tf_keras.src.applications.efficientnet import EfficientNet

    network = _randomised(
        EfficientNet(0.1, 0.1, 32, model_name="small", **_NO_TOP, input_shape=(32, 32, 3), blocks_args="default")
    )
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    own = network.get_layer(index=2)
    own.set_weights([mean, deviation, 0])  # as in the published file, where the variance should be
    graph = _flat_with_weights(network, "EfficientNetB0")
    own.set_weights([mean, deviation**2, 0])
    expected = np.asarray(network(PHOTOS * 255, training=False))
    _assert_same(graph(PHOTOS, training=False), expected)


def test_other_statistics_of_efficientnet_are_taken_as_they_are() -> None:
    import tf_keras

    own = tf_keras.layers.Normalization()
    own.build((None, 32, 32, 3))
    own.set_weights([np.array([0.1, 0.2, 0.3]), np.array([0.04, 0.09, 0.16]), 0])
    own.finalize_state()
    kernel, bias = keras_applications._normalization(own, published=False)
    assert np.allclose(kernel.reshape(3) * PHOTOS + bias, own(PHOTOS), atol=1e-5)


def test_random_weights_follow_the_seed(opened: dict[str, Backbone]) -> None:
    assert open_backbone("keras:mobilenet", 32, "none").sha256 == opened["MobileNet"].sha256
    assert open_backbone("keras:MobileNet", 32, "none", seed=1).sha256 != opened["MobileNet"].sha256
    assert not opened["MobileNet"].is_pretrained


def test_published_weights_are_found_in_keras_own_cache(unreachable: Path, randomised: dict[str, Any]) -> None:
    network = randomised["MobileNet"]  # the one family whose files Keras takes without a hash
    _saved(network, unreachable / ".keras/models", "mobilenet_1_0_224_tf_no_top.h5")
    backbone = open_backbone("keras:MobileNet", 32)
    assert backbone.is_pretrained
    expected = np.asarray(network(PHOTOS * 2 - 1, training=False))
    _assert_same(backbone.layer(PHOTOS, training=False), expected)


@pytest.mark.parametrize("name", ["MobileNet", "VGG16"])
def test_weights_out_of_reach_are_an_error_that_says_the_ways_out(unreachable: Path, name: str) -> None:
    (unreachable / ".keras/models").mkdir(parents=True)
    (unreachable / ".keras/models/mobilenet_v2_weights_1.0_224_no_top.h5").touch()  # another network's
    with pytest.raises(EnvironmentFault, match=r"--weights PATH.h5, or start from random ones with --weights none"):
        open_backbone(f"keras:{name}")


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown network of tf_keras.applications 'MobilNetV2'.*'MobileNetV2'"):
        open_backbone("keras:MobilNetV2")


@pytest.mark.parametrize(("name", "size"), [("InceptionV3", 75), ("VGG16", 32), ("MobileNetV3Small", 32)])
def test_a_size_under_the_networks_smallest_is_refused(name: str, size: int) -> None:
    with pytest.raises(InputError, match=f"--image-size {size - 1}: {name} takes {size} pixels a side or more"):
        open_backbone(f"keras:{name}", size - 1, "none")


def test_a_hub_module_takes_no_weights() -> None:
    with pytest.raises(InputError, match="'bundled' brings its own weights. Drop --weights imagenet"):
        open_backbone("bundled", weights="imagenet")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "missing.h5", "no such file"),
        (b"weights", "text.h5", "not the weights of MobileNet without its top"),
        (b"weights", "text.npz", "use imagenet, none, or an HDF5 file whose name ends in .h5"),
        (b"weights", "text.weights.h5", "not the weights of MobileNet without its top"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(
    tmp_path: Path, content: bytes | None, name: str, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_backbone("keras:MobileNet", 32, str(tmp_path / name))


@pytest.mark.parametrize("name", ["vgg.h5", "vgg.weights.h5"])
def test_another_networks_weights_are_refused(randomised: dict[str, Any], tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not the weights of MobileNet without its top"):
        open_backbone("keras:MobileNet", 32, str(_saved(randomised["VGG16"], tmp_path, name)))


def test_weights_in_keras_newer_format_are_read(randomised: dict[str, Any], tmp_path: Path) -> None:
    newer, legacy = (
        open_backbone("keras:VGG16", 32, str(_saved(randomised["VGG16"], tmp_path, name)))
        for name in ("vgg.weights.h5", "vgg.h5")
    )
    assert newer.sha256 == legacy.sha256


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = _bare("MobileNet")
    values = network.get_weights()
    values[0][0, 0, 0, 0] = np.nan
    network.set_weights(values)
    with pytest.raises(InputError, match="weights that are not finite"):
        open_backbone("keras:MobileNet", 32, str(_saved(network, tmp_path)))


@pytest.mark.parametrize(
    "change",
    [{"network": "os.system"}, {"input_size": 31}, {"input_size": "32"}, {"input_size": 10**9}, {"weights": "x.h5"}],
)
def test_a_damaged_structure_is_an_error_of_its_own(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="structure of the backbone is damaged"):
        rebuild_flat({"kind": "keras_applications", "network": "MobileNet", "input_size": 32} | change)
