"""A MobileNetV2 of TensorFlow Hub becomes a graph of layers that computes the same; what is none is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import DEFAULT, Backbone, Opaque, open_backbone, rebuild_flat
from tledge.backbones.mobilenet_v2 import TOLERANCE, flatten
from tledge.errors import ArtifactError
from tledge.preprocessing import Pixels, resize

WIDTH_035 = "https://tfhub.dev/google/imagenet/mobilenet_v2_035_224/feature_vector/5"
SIZE = 32
SCOPES = ["expanded_conv", *(f"expanded_conv_{number}" for number in range(1, 17))]
TWICE_AS_SMALL_AFTER = {"Conv", "expanded_conv_1", "expanded_conv_3", "expanded_conv_6", "expanded_conv_13"}
OUTPUTS = [4, 6, 6, 5, 5, 5, 7, 7, 7, 7, 7, 9, 9, 8, 8, 8, 10]  # of no width multiplier, and odd ones among them
VECTORS = ["gamma", "beta", "moving_mean", "moving_variance"]

Weights = dict[str, np.ndarray]
Variables = dict[str, Any]


def photos(size: int) -> Pixels:
    """Two real photos, uint8 (2, S, S, 3)."""
    from sklearn.datasets import load_sample_images

    return np.stack([resize(image, size) for image in load_sample_images().images])


def difference(one: Backbone, other: Backbone) -> float:
    """The largest difference of the features of real photos, as a fraction of their range."""
    expected = one.features_of_pixels(photos(one.input_size)).numpy()
    actual = other.features_of_pixels(photos(one.input_size)).numpy()
    return float(np.max(np.abs(actual - expected)) / np.ptp(expected))


def refusal(backbone: Backbone) -> str:
    """The reason why a backbone stays opaque."""
    found = flatten(backbone, photos(backbone.input_size))
    assert isinstance(found, Opaque)
    return found.reason


def slim_weights() -> Weights:
    """Random weights of a narrow MobileNetV2 by TF-Slim's names, in the order in which TF-Slim creates them."""
    rng = np.random.default_rng(0)
    weights: Weights = {}

    def unit(scope: str, shape: tuple[int, ...]) -> None:
        depthwise = scope.endswith("depthwise")
        channels = shape[2] if depthwise else shape[3]
        kernel = f"{scope}/depthwise_weights" if depthwise else f"{scope}/weights"
        weights[kernel] = rng.normal(0, np.sqrt(2 / np.prod(shape[: 2 if depthwise else 3])), shape)
        for vector, (low, high) in zip(VECTORS, [(0.7, 1.3), (-0.2, 0.4), (-0.2, 0.2), (0.5, 1.5)], strict=True):
            weights[f"{scope}/BatchNorm/{vector}"] = rng.uniform(low, high, channels)

    unit("Conv", (3, 3, 3, 6))
    for number, (before, after) in enumerate(pairwise([6, *OUTPUTS])):
        inside = before * 3 if number else before
        if number:
            unit(f"{SCOPES[number]}/expand", (1, 1, before, inside))
        unit(f"{SCOPES[number]}/depthwise", (3, 3, inside, 1))
        unit(f"{SCOPES[number]}/project", (1, 1, inside, after))
    unit("Conv_1", (1, 1, OUTPUTS[-1], 24))
    return {name: value.astype(np.float32) for name, value in weights.items()}


def compute(images: Any, weights: Variables, epsilon: float = 1e-3) -> Any:
    """TF-Slim's MobileNetV2 in TensorFlow's own operators: pixels in the network's range to pooled features."""
    import tensorflow as tf

    def unit(x: Any, scope: str, stride: int = 1, relu: bool = True) -> Any:
        strides = [1, stride, stride, 1]
        if scope.endswith("depthwise"):
            x = tf.nn.depthwise_conv2d(x, weights[f"{scope}/depthwise_weights"], strides, "SAME")
        else:
            x = tf.nn.conv2d(x, weights[f"{scope}/weights"], strides, "SAME")
        gamma, beta, mean, variance = (tf.identity(weights[f"{scope}/BatchNorm/{vector}"]) for vector in VECTORS)
        x = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]
        return tf.nn.relu6(x) if relu else x

    x = unit(images, "Conv", 2)
    for scope in SCOPES:
        inside = unit(x, f"{scope}/expand") if scope != SCOPES[0] else x
        inside = unit(inside, f"{scope}/depthwise", 2 if scope in TWICE_AS_SMALL_AFTER else 1)
        inside = unit(inside, f"{scope}/project", relu=False)
        x = x + inside if inside.shape[1:] == x.shape[1:] and scope not in TWICE_AS_SMALL_AFTER else inside
    return tf.reduce_mean(unit(x, "Conv_1"), [1, 2])


def save(folder: Path, variables: list[Any], body: Callable[[Any], Any], size: int | None = SIZE) -> Path:
    """A module in the Hub's format that lists ``variables`` in that order."""
    import tensorflow as tf

    module = tf.train.Checkpoint()
    module.variables, module.regularization_losses = variables, []
    module.trainable_variables = [variable for variable in variables if variable.trainable]

    @tf.function(autograph=False)
    def call(inputs: Any, training: bool = False) -> Any:
        return body(inputs)

    call.get_concrete_function(tf.TensorSpec((None, size, size, 3), tf.float32, name="inputs"), training=False)
    module.__call__ = call
    # Who loads it reads the variables by the checkpoint; operators that save and restore them cost half of the time.
    options = tf.saved_model.SaveOptions(save_debug_info=False, experimental_skip_saver=True)
    tf.saved_model.save(module, str(folder), options=options)
    return folder


def unsaved(variables: list[Any], body: Callable[[Any], Any]) -> Backbone:
    """The same without the way over the disk."""
    import tensorflow as tf
    import tensorflow_hub

    class Module(tf.train.Checkpoint):  # type: ignore[misc, name-defined]
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            return body(inputs)

    module = Module()
    module.variables, module.regularization_losses = variables, []
    module.trainable_variables = [variable for variable in variables if variable.trainable]
    return Backbone("unsaved", "", SIZE, 24, tensorflow_hub.KerasLayer(module, trainable=False))


def to_variables(weights: Weights, prefix: str | None = "MobilenetV2/") -> Variables:
    """A variable for each weight, its name behind ``prefix``; None: all have TensorFlow's own name, which says nothing."""
    import tensorflow as tf

    return {
        name: tf.Variable(value, name=None if prefix is None else prefix + name, trainable="moving" not in name)
        for name, value in weights.items()
    }


@pytest.fixture(scope="module")
def rebuilt(bundled: tuple[Backbone, Backbone]) -> Any:
    """The flat graph of the structure alone, by way of JSON."""
    return rebuild_flat(json.loads(json.dumps(bundled[1].structure)))


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TF-Slim's names below scopes of the saver's, in no order, beside a step counter and averages that nothing reads."""
    import tensorflow as tf

    weights = slim_weights()
    variables = to_variables(weights, "StatefulPartitionedCall/module/MobilenetV2/")
    listed = [variables[name] for name in sorted(weights, key=lambda name: hashlib.sha256(name.encode()).digest())]
    listed.insert(0, tf.Variable(7, dtype=tf.int64, name="global_step", trainable=False))
    listed += [tf.Variable(v + 1.0, name=v.name.split(":")[0], trainable=False) for v in listed[1:]]
    body = lambda images: compute(images * 2.0 - 1.0, variables)  # noqa: E731
    return save(tmp_path_factory.mktemp("slim"), listed, body)


@pytest.mark.long  # real modules at 224 x 224
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("handle", [DEFAULT, WIDTH_035])
def test_a_module_of_the_hub_keeps_its_features(handle: str) -> None:
    cached = Path(os.environ["TFHUB_CACHE_DIR"], hashlib.sha1(handle.encode()).hexdigest())  # noqa: S324
    if not cached.is_dir():
        pytest.skip(f"needs {handle} in TFHUB_CACHE_DIR")
    opaque = open_backbone(handle)
    flat = flatten(opaque, photos(224))
    assert difference(opaque, flat) <= TOLERANCE
    assert flat.graph.output_shape == (None, 1280)
    assert flat.record() == opaque.record()


def test_layers_are_named_as_in_keras_applications(bundled: tuple[Backbone, Backbone]) -> None:
    import tf_keras

    known = tf_keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, include_top=False, weights=None)
    expected = [layer.name for layer in known.layers[1:] if not isinstance(layer, tf_keras.layers.ZeroPadding2D)]
    ours = [layer.name for layer in bundled[1].graph.layers]
    assert ours == ["images", "rescale", *expected, "global_average_pooling2d"]


def test_the_graph_holds_plain_layers_only(bundled: tuple[Backbone, Backbone]) -> None:
    kinds = {type(layer).__name__ for layer in bundled[1].graph.layers}
    plain = {"InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add", "GlobalAveragePooling2D"}
    assert kinds == plain


def test_structure_and_weights_make_the_same_graph_again(bundled: tuple[Backbone, Backbone], rebuilt: Any) -> None:
    graph, pixels = bundled[1].graph, photos(64).astype(np.float32) / 255
    assert rebuilt.get_config() == graph.get_config()
    assert not np.array_equal(rebuilt(pixels), graph(pixels))
    initial = rebuilt.get_weights()
    rebuilt.set_weights(graph.get_weights())
    assert np.array_equal(rebuilt(pixels), graph(pixels))
    rebuilt.set_weights(initial)


def test_the_scaling_needs_no_weights_of_the_module(rebuilt: Any) -> None:
    import tf_keras

    scaling = tf_keras.Model(rebuilt.input, rebuilt.get_layer("rescale").output)
    pixels = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    assert np.array_equal(scaling(pixels), pixels * 2 - 1)
    assert not rebuilt.get_layer("rescale").trainable_weights


def test_the_graph_can_be_cut_in_the_middle(bundled: tuple[Backbone, Backbone]) -> None:
    import tf_keras

    graph = bundled[1].graph
    middle = graph.get_layer("block_12_add").output
    below, above = tf_keras.Model(graph.input, middle), tf_keras.Model(middle, graph.output)
    pixels = photos(64).astype(np.float32) / 255
    np.testing.assert_array_equal(above(below(pixels)).numpy(), graph(pixels).numpy())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")  # tfmot's own
def test_quantization_aware_training_pruning_and_clustering_take_the_layers(rebuilt: Any) -> None:
    import tensorflow_model_optimization as tfmot
    import tf_keras

    # Cut where every kind of layer has come by, for the sake of time.
    features = rebuilt.get_layer("global_average_pooling2d")(rebuilt.get_layer("block_2_add").output)
    part = tf_keras.Model(rebuilt.input, features)
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    pruned = tfmot.sparsity.keras.prune_low_magnitude(part)
    clustered = tfmot.clustering.keras.cluster_weights(tf_keras.models.clone_model(part), 4, linear)
    quantized = tfmot.quantization.keras.quantize_model(part)
    for model in (pruned, clustered, quantized):
        assert model(np.zeros((1, 64, 64, 3), np.float32)).shape == (1, 8)


def test_tflite_computes_the_same(bundled: tuple[Backbone, Backbone]) -> None:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from tledge.runtimes.litert import LiteRTSession

    _, flat = bundled
    traced = flat.features_of_pixels.get_concrete_function(tf.TensorSpec([1, 64, 64, 3], tf.uint8))
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    converter = tf.compat.v1.lite.TFLiteConverter(frozen.graph.as_graph_def(), frozen.inputs, frozen.outputs)
    session = LiteRTSession(bytes(converter.convert()), num_threads=1)
    pixels = photos(64)[:1]
    expected = flat.features_of_pixels(pixels).numpy()
    assert np.max(np.abs(session.predict(pixels) - expected)) <= TOLERANCE * np.ptp(expected)


@pytest.mark.long  # real modules at 224 x 224
def test_keras_own_network_of_an_odd_size_keeps_its_features(tmp_path: Path) -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    network = tf_keras.applications.MobileNetV2((33, 33, 3), 0.35, include_top=False, weights=None, pooling="avg")
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-0.1, 0.1, layer.moving_mean.shape[0]))
            layer.beta.assign(np.linspace(0.3, -0.1, layer.beta.shape[0]))
    folder = save(tmp_path, network.weights[::-1], lambda images: network(images * 2.0 - 1.0, training=False), 33)
    opaque = open_backbone(str(folder))
    flat = flatten(opaque, photos(33))
    assert difference(opaque, flat) <= TOLERANCE
    ours, theirs = (model.get_layer("block_13_expand").kernel for model in (flat.graph, network))
    assert np.array_equal(ours, theirs)


@pytest.mark.long
def test_slims_names_are_found_in_any_order_and_below_any_scope(slim: Path) -> None:
    opaque = open_backbone(str(slim))
    flat = flatten(opaque, photos(SIZE))
    assert difference(opaque, flat) <= TOLERANCE
    assert flat.structure is not None
    assert [block["output"] for block in flat.structure["blocks"]] == OUTPUTS
    assert flat.structure["rescale"] is True


@pytest.mark.long
def test_without_names_the_order_decides(tmp_path: Path) -> None:
    weights = slim_weights()
    variables = to_variables(weights, None)
    # A network that takes [0, 1] as it comes, any size, with an epsilon of its own.
    save(tmp_path, list(variables.values()), lambda images: compute(images, variables, 0.01), None)
    opaque = open_backbone(str(tmp_path), SIZE)
    flat = flatten(opaque, photos(SIZE))
    assert difference(opaque, flat) <= TOLERANCE
    assert flat.structure is not None
    assert (flat.structure["rescale"], flat.structure["epsilon"]) == (False, 0.01)
    assert "rescale" not in [layer.name for layer in flat.graph.layers]


@pytest.mark.long
def test_without_names_the_averages_may_come_last() -> None:
    variables = to_variables(slim_weights(), None)
    opaque = unsaved(
        sorted(variables.values(), key=lambda variable: not variable.trainable),
        lambda images: compute(images * 2.0 - 1.0, variables),
    )
    assert difference(opaque, flatten(opaque, photos(SIZE))) <= TOLERANCE


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (0, -5, "variables of other shapes: the first block has 6 channels after a stem of 24"),  # two kernels
        (1, -4, r"float32 \(24,\) for 'bn_Conv1/gamma', where float32 \(6,\) follows"),  # two vectors
    ],
)
def test_without_names_another_order_is_refused(first: int, second: int, message: str) -> None:
    variables = to_variables(slim_weights(), None)
    listed = list(variables.values())
    listed[first], listed[second] = listed[second], listed[first]
    opaque = unsaved(listed, lambda images: compute(images, variables))
    assert re.search(f"found {message}", refusal(opaque))


def test_a_module_that_changes_one_weight_as_it_runs_is_refused() -> None:
    variables = to_variables(slim_weights())

    def body(images: Any) -> Any:
        name = "expanded_conv_4/project/BatchNorm/gamma"
        return compute(images * 2.0 - 1.0, {**variables, name: variables[name] * [1.0, 1.0, 1.1, 1.0, 1.0]})

    assert re.search(
        r"another computation: features differ by up to 0\.\d+ .*range of \d",
        refusal(unsaved(list(variables.values()), body)),
    )


def test_a_classifier_on_top_is_refused() -> None:
    import tensorflow as tf

    variables = to_variables(slim_weights())
    logits = tf.Variable(tf.ones((24, 11)), name="MobilenetV2/Logits/Conv2d_1c_1x1/weights")
    opaque = unsaved([*variables.values(), logits], lambda images: tf.matmul(compute(images, variables), logits))
    assert re.search("an unknown variable 'MobilenetV2/Logits/Conv2d_1c_1x1/weights:0'", refusal(opaque))


def test_a_variable_that_is_missing_is_named() -> None:
    import tensorflow as tf

    variables = to_variables(slim_weights())
    constant = variables.pop("Conv/BatchNorm/gamma").numpy()
    body = lambda images: compute(images, {**variables, "Conv/BatchNorm/gamma": tf.constant(constant)})  # noqa: E731
    assert re.search(
        r"no variable for 'bn_Conv1/gamma' \(1 of 260 are missing\)", refusal(unsaved(list(variables.values()), body))
    )


def test_a_weight_that_is_no_number_is_refused(slim: Path) -> None:
    opaque = open_backbone(str(slim))
    name = "MobilenetV2/Conv/BatchNorm/beta:0"
    for variable in opaque.layer.resolved_object.variables:
        if variable.name.endswith(name):
            variable.assign(np.full(variable.shape, np.nan))
    assert re.search("not finite", refusal(opaque))


def test_two_variables_of_one_name_are_refused() -> None:
    variables = to_variables(slim_weights())
    teacher = to_variables({"Conv_1/BatchNorm/beta": np.ones(24, np.float32)}, "teacher/")["Conv_1/BatchNorm/beta"]
    opaque = unsaved([*variables.values(), teacher], lambda images: compute(images, variables) + teacher)
    assert re.search("a second variable 'teacher/Conv_1/BatchNorm/beta:0'", refusal(opaque))


def test_another_network_is_refused_with_what_was_looked_for(tiny_backbone: Path) -> None:
    reason = refusal(open_backbone(str(tiny_backbone)))
    assert "looked for a MobileNetV2 feature vector of 52 convolutions" in reason
    assert "found 0 variables in use" in reason


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "resnet"}, "unknown kind 'resnet'"),
        ({"width": 1.0}, "width: extra inputs are not permitted"),
        ({"input_size": 10**6}, "input_size"),
        ({"input_size": "64"}, "input_size"),
        ({"stem": 10**9}, "stem"),
        ({"stem": 8}, "the first block has 16 channels after a stem of 8"),
        ({"last": 0}, "last"),
        ({"blocks": []}, "blocks"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"rescale": None}, "rescale"),
    ],
)
def test_a_damaged_structure_is_refused(
    bundled: tuple[Backbone, Backbone], changed: dict[str, Any], message: str
) -> None:
    assert bundled[1].structure is not None
    with pytest.raises(ArtifactError, match=f"structure of the backbone is damaged: {message}"):
        rebuild_flat({**bundled[1].structure, **changed})
