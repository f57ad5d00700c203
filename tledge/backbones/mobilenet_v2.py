"""This module turns a TensorFlow Hub module of MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381) into a flat Keras graph.

A Hub module is one opaque function. Its variables are recognised by name or by order. Their shapes say how wide the network
is, and a graph of plain layers takes their values. The graph replaces the module only where both compute the same features
from the same pixels.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from tledge.backbones.backbone import RESCALE, Backbone, Opaque
from tledge.backbones.source import BUNDLED, DEFAULT, MAX_INPUT_SIZE
from tledge.backbones.structure import parsed
from tledge.errors import first_problem
from tledge.preprocessing import Pixels
from tledge.records import Record
from tledge.tensorflow_setup import tensorflow

KIND = "mobilenet_v2"
TOLERANCE = 1e-4  # a share of the output range
EPSILON = 1e-3  # the batch normalizations of TF-Slim and Keras have it
MOMENTUM = 0.999  # keras.applications has it; it counts only where the batch normalizations are trained
_STRIDES: tuple[Literal[1, 2], ...] = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_PREFIXES = ("expanded_conv", *(f"block_{number}" for number in range(1, len(_STRIDES))))
_VECTORS = ("gamma", "beta", "moving_mean", "moving_variance")
_NUM_NOISE = 4

Values = npt.NDArray[Any]
Slot = tuple[str, str]  # the name of a layer, and the name of a weight in it
# Twice what the widest published network has; a structure read from a damaged file can't fill the memory.
Channels = Annotated[int, Field(strict=True, ge=1, le=4096)]


class _NotMobileNetV2(Exception):
    """This exception says that a module could not be shown to be a MobileNetV2. The module then stays opaque."""


class Block(Record):
    """A ``Block`` is one inverted residual with ``expansion`` channels inside and ``output`` channels at its end."""

    expansion: Channels
    output: Channels
    stride: Literal[1, 2]


class MobileNetV2Structure(Record):
    """This record rebuilds the graph without its weights. ``rescale``: whether the network takes [-1, 1] inside."""

    kind: Literal["mobilenet_v2"] = "mobilenet_v2"
    input_size: Annotated[int, Field(strict=True, ge=1, le=MAX_INPUT_SIZE)]
    rescale: Annotated[bool, Field(strict=True)]
    stem: Channels = Field(description="This is the number of channels of the first convolution.")
    blocks: tuple[Block, ...] = Field(min_length=len(_STRIDES), max_length=len(_STRIDES))
    last: Channels = Field(
        description="This is the number of channels of the last convolution, which is the number of features."
    )
    epsilon: Annotated[float, Field(strict=True, gt=0, le=1)]

    @model_validator(mode="after")
    def _first_block_does_not_expand(self) -> Self:
        if self.blocks[0].expansion != self.stem:
            raise ValueError(f"the first block has {self.blocks[0].expansion} channels after a stem of {self.stem}")
        return self


def flatten(backbone: Backbone, photos: Pixels) -> Backbone | Opaque:
    """Return the same backbone with ``graph`` and ``structure``: a graph of plain layers that holds a Hub module's weights.

    ``photos``: uint8 RGB (N, S, S, 3), a few dozen at most. The module and the graph are run on them and on noise.
    All layers of the graph but ``rescale`` are trainable. The caller freezes those that it does not train.
    The module stays opaque in three cases. Its variables are not a MobileNetV2's, a weight is not finite, or a feature
    differs by more than ``TOLERANCE`` of the range of all features.
    """
    try:
        return _flattened(backbone, photos)
    except _NotMobileNetV2 as error:
        return Opaque(str(error))


def _flattened(backbone: Backbone, photos: Pixels) -> Backbone:
    size = backbone.input_size
    any_batch = tensorflow().TensorSpec([None, size, size, 3], np.uint8)
    function = backbone.features_of_pixels.get_concrete_function(any_batch)
    variables = _used_variables(backbone, function)
    weights = _named(backbone, variables) or _in_order(backbone, variables)
    structure = _structure(backbone, weights, _epsilon(backbone, function))

    noise = np.random.default_rng(0).integers(0, 256, (_NUM_NOISE, size, size, 3), np.uint8)
    pixels = np.concatenate([noise, photos])
    expected = backbone.features(pixels).astype(np.float64)
    if expected.shape != (len(pixels), structure.last):
        raise _refusal(backbone, f"{expected.shape[1]} features after a last kernel to {structure.last}")
    output_range = float(np.ptp(expected)) if np.isfinite(expected).all() else np.nan
    if not output_range > 0:
        raise _refusal(backbone, "features that are not finite, or all the same, which prove nothing")
    differences = []
    # No variable tells whether the network itself takes [-1, 1] or [0, 1], so both are tried.
    for candidate in (structure, structure.model_copy(update={"rescale": False})):
        graph = _filled(backbone, candidate, weights)
        flat = dataclasses.replace(backbone, layer=graph, graph=graph, structure=candidate.as_json(), apart=None)
        differences.append(float(np.max(np.abs(flat.features(pixels) - expected))))
        if differences[-1] <= TOLERANCE * output_range:
            return flat
    raise _refusal(
        backbone,
        f"its variables, but another computation: features differ by up to {differences[0]:.3g} from the known network's "
        f"({differences[1]:.3g} without scaling to [-1, 1]), over {TOLERANCE:g} of their range of {output_range:.3g}",
    )


def rebuild(structure: dict[str, Any]) -> Any:
    """Build the flat tf_keras.Model that ``structure`` describes. Its weights have no meaning yet.

    The model computes float32 (N, feature_dim) from float32 RGB (N, S, S, 3) in [0, 1]. Layers are named as in
    keras.applications. Its padding layers are left out, and ``rescale`` stands before the others. Raises ArtifactError for
    unknown, missing or impossible values.
    """
    return _graph(parsed(MobileNetV2Structure, structure))


def _graph(structure: MobileNetV2Structure) -> Any:
    tensorflow()
    import tf_keras
    from tf_keras import layers

    def normalized(x: Any, name: str, relu: str | None = None) -> Any:
        x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=structure.epsilon, name=name)(x)
        return layers.ReLU(6.0, name=relu)(x) if relu else x

    def conv(x: Any, channels: int, kernel_size: int, stride: int, name: str) -> Any:
        return layers.Conv2D(channels, kernel_size, stride, "same", use_bias=False, name=name)(x)

    x = images = layers.Input((structure.input_size, structure.input_size, 3), name="images")
    if structure.rescale:
        # tensorflow-model-optimization can neither quantize nor prune layers.Rescaling.
        x = layers.DepthwiseConv2D(
            1,
            depthwise_initializer=tf_keras.initializers.Constant(2.0),
            bias_initializer=tf_keras.initializers.Constant(-1.0),
            trainable=False,
            name=RESCALE,
        )(x)
    x = normalized(conv(x, structure.stem, 3, 2, "Conv1"), "bn_Conv1", "Conv1_relu")
    channels = structure.stem
    for prefix, block in zip(_PREFIXES, structure.blocks, strict=True):
        before, name = x, f"{prefix}_expand"
        if prefix != _PREFIXES[0]:
            x = normalized(conv(x, block.expansion, 1, 1, name), f"{name}_BN", f"{name}_relu")
        name = f"{prefix}_depthwise"
        # "same" pads as keras.applications does with padding layers, at odd sizes too.
        x = layers.DepthwiseConv2D(3, block.stride, "same", use_bias=False, name=name)(x)
        x = normalized(x, f"{name}_BN", f"{name}_relu")
        name = f"{prefix}_project"
        x = normalized(conv(x, block.output, 1, 1, name), f"{name}_BN")
        if block.stride == 1 and block.output == channels:
            x = layers.Add(name=f"{prefix}_add")([before, x])
        channels = block.output
    x = normalized(conv(x, structure.last, 1, 1, "Conv_1"), "Conv_1_bn", "out_relu")
    features = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    return tf_keras.Model(images, features, name="mobilenet_v2")


def _convolutions() -> Iterator[tuple[Slot, str, str]]:
    """Yield the kernel, the batch normalization and TF-Slim's scope of every convolution, from the first to the last."""
    yield ("Conv1", "kernel"), "bn_Conv1", "Conv"
    for number, prefix in enumerate(_PREFIXES):
        scope = f"expanded_conv_{number}" if number else "expanded_conv"
        for part in ("expand", "depthwise", "project") if number else ("depthwise", "project"):
            kernel = "depthwise_kernel" if part == "depthwise" else "kernel"
            yield (f"{prefix}_{part}", kernel), f"{prefix}_{part}_BN", f"{scope}/{part}"
    yield ("Conv_1", "kernel"), "Conv_1_bn", "Conv_1"


_KERNELS = [kernel for kernel, _, _ in _convolutions()]
_NORMS = [norm for _, norm, _ in _convolutions()]
_SLOTS = {*_KERNELS, *((norm, vector) for norm in _NORMS for vector in _VECTORS)}
# The layer by the scopes in a variable's name, as Keras or TF-Slim writes them.
_LAYERS = {name: name for name in chain((layer for layer, _ in _KERNELS), _NORMS)}
_LAYERS |= {scope: layer for (layer, _), _, scope in _convolutions()}
_LAYERS |= {f"{scope}/BatchNorm": norm for _, norm, scope in _convolutions()}


def _used_variables(backbone: Backbone, function: Any) -> list[Any]:
    """Return the variables that inference uses, in the order in which the module lists them.

    A variable that the traced ``function`` does not capture can have no part in a feature. Step counters and moving copies
    are such variables. A variable that it captures and the module does not list comes last.
    """
    given = getattr(backbone.layer.resolved_object, "variables", ())
    listed = {id(variable): place for place, variable in enumerate(given)}
    return sorted(function.graph.variables, key=lambda variable: listed.get(id(variable), len(listed)))


def _named(backbone: Backbone, variables: list[Any]) -> dict[Slot, Values]:
    """Return every weight by the layer and weight that its variable's name says, whatever scopes stand before.

    The result is empty where no name says anything. Raises _NotMobileNetV2 where only some names do, a weight comes twice, or
    one is missing.
    """
    slots = [_slot(variable.name) for variable in variables]
    if not any(slots):
        return {}
    found: dict[Slot, Values] = {}
    for slot, variable in zip(slots, variables, strict=True):
        if slot is None or slot in found:
            what = "a second" if slot else "an unknown"
            raise _refusal(backbone, f"{what} variable {variable.name!r} of shape {variable.shape} in use")
        found[slot] = variable.numpy()
    missing = sorted("/".join(slot) for slot in _SLOTS - found.keys())
    if missing:
        raise _refusal(backbone, f"no variable for {missing[0]!r} ({len(missing)} of {len(_SLOTS)} are missing)")
    return found


def _slot(name: str) -> Slot | None:
    *scopes, weight = re.sub(r":\d+$", "", name).split("/")
    for depth in (3, 2, 1):
        layer = _LAYERS.get("/".join(scopes[-depth:]))
        if layer and (layer, weight.replace("weights", "kernel")) in _SLOTS:
            return layer, weight.replace("weights", "kernel")
    return None


def _in_order(backbone: Backbone, variables: list[Any]) -> dict[Slot, Values]:
    """Return every weight by its place among the variables: kernels and vectors each from the first layer to the last.

    The vectors of a batch normalization are gamma, beta, moving mean and moving variance. They may be listed layer by layer,
    or all trained vectors before all others. Raises _NotMobileNetV2 where the number of variables differs.
    """
    kernels = [variable for variable in variables if variable.shape.rank == 4]
    vectors = [variable for variable in variables if variable.shape.rank == 1]
    if (len(kernels), len(vectors), len(variables)) != (len(_KERNELS), 4 * len(_NORMS), len(_SLOTS)):
        raise _refusal(
            backbone,
            f"{len(variables)} variables in use, {len(kernels)} of them of rank 4 and {len(vectors)} of rank 1, "
            "and no name that is known",
        )
    trained = [vector for vector in vectors if vector.trainable]
    if len(trained) == 2 * len(_NORMS):
        averages = [vector for vector in vectors if not vector.trainable]
        vectors = [vector for i in range(0, len(trained), 2) for vector in (*trained[i : i + 2], *averages[i : i + 2])]
    slots = chain(_KERNELS, ((norm, vector) for norm in _NORMS for vector in _VECTORS))
    return {slot: variable.numpy() for slot, variable in zip(slots, (*kernels, *vectors), strict=True)}


def _epsilon(backbone: Backbone, function: Any) -> float:
    """Return the epsilon of the graph's fused batch normalizations, or ``EPSILON`` where there is none.

    The comparison of features shows whether that is right. Raises _NotMobileNetV2 where there are several epsilons.
    """
    graph = function.graph.as_graph_def()
    nodes = chain(graph.node, *(called.node_def for called in graph.library.function))
    # The graph holds float32: 0.001, not 0.0010000000474974513.
    found = {float(str(np.float32(n.attr["epsilon"].f))) for n in nodes if n.op.startswith("FusedBatchNorm")}
    if len(found) > 1:
        raise _refusal(backbone, f"batch normalizations of several epsilons, {sorted(found)}")
    return found.pop() if found else EPSILON


def _structure(backbone: Backbone, weights: dict[Slot, Values], epsilon: float) -> MobileNetV2Structure:
    """Derive the structure, with ``rescale``, from the shapes of the kernels.

    Raises _NotMobileNetV2 where a weight is not finite, a variance is negative, or a shape does not fit.
    """
    for (layer, weight), value in weights.items():
        # ReLU6 can hide a NaN in TensorFlow and not in another runtime, so comparing features would not do.
        if not np.isfinite(value).all() or (weight == "moving_variance" and (value < 0).any()):
            raise _refusal(backbone, f"'{layer}/{weight}' with values that are not finite, or negative variances")
    shapes = {layer: weights[layer, weight].shape for layer, weight in _KERNELS}
    for layer, shape in shapes.items():
        if len(shape) != 4:
            raise _refusal(backbone, f"a kernel of {layer!r} of shape {shape}")
    try:
        blocks = tuple(
            Block(expansion=shapes[f"{prefix}_depthwise"][2], output=shapes[f"{prefix}_project"][3], stride=stride)
            for prefix, stride in zip(_PREFIXES, _STRIDES, strict=True)
        )
        stem, last = shapes["Conv1"][3], shapes["Conv_1"][3]
        return MobileNetV2Structure(
            input_size=backbone.input_size, rescale=True, stem=stem, blocks=blocks, last=last, epsilon=epsilon
        )
    except ValidationError as error:
        raise _refusal(backbone, f"variables of other shapes: {first_problem(error)}") from error


def _filled(backbone: Backbone, structure: MobileNetV2Structure, weights: dict[Slot, Values]) -> Any:
    """Build the graph of a structure with the module's weights. Raises _NotMobileNetV2 where a weight does not fit."""
    graph = _graph(structure)
    for (layer, weight), value in weights.items():
        variable = getattr(graph.get_layer(layer), weight)
        if value.dtype != np.float32 or value.shape != tuple(variable.shape):
            what = f"{value.dtype} {value.shape} for '{layer}/{weight}', where float32 {variable.shape} follows"
            raise _refusal(backbone, what)
        variable.assign(value)
    return graph


def _refusal(backbone: Backbone, found: str) -> _NotMobileNetV2:
    return _NotMobileNetV2(
        f"backbone {backbone.handle!r} can't be taken apart into layers: looked for a MobileNetV2 feature vector of "
        f"{len(_KERNELS)} convolutions, each with a batch normalization; found {found}. It can serve as frozen "
        f"features. Where layers are needed, use {DEFAULT} or {BUNDLED}."
    )
