"""A network that other people trained is described layer by layer, and built from that description as a flat Keras graph.

Readers of model files write the description, whatever library made the file. Every value in it is plain: names, numbers and
arrays. So nothing of a stranger's file is run when the graph is built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from tledge.backbones.source import MAX_INPUT_SIZE
from tledge.backbones.structure import parsed, structure_fault
from tledge.records import Record
from tledge.tensorflow_setup import tensorflow

KIND = "described"
IMAGES = "images"  # the name of the input: float32 RGB (N, S, S, 3) in [0, 1]
Floats = npt.NDArray[np.float32]
_MOST_LAYERS = 10_000
# The layers of which described networks are made, each with the arguments of its constructor that a description may set.
LAYERS: dict[str, frozenset[str]] = {
    "Activation": frozenset({"activation"}),
    "Add": frozenset(),
    "AveragePooling2D": frozenset({"pool_size", "strides", "padding"}),
    "BatchNormalization": frozenset({"axis", "epsilon", "center", "scale"}),
    "Concatenate": frozenset({"axis"}),
    "Conv2D": frozenset(
        {"filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias", "activation"}
    ),
    "Dense": frozenset({"units", "use_bias", "activation"}),
    "DepthwiseConv2D": frozenset(
        {"kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier", "use_bias", "activation"}
    ),
    "Flatten": frozenset(),
    "GlobalAveragePooling2D": frozenset({"keepdims"}),
    "GlobalMaxPooling2D": frozenset({"keepdims"}),
    "LeakyReLU": frozenset({"alpha"}),
    "MaxPooling2D": frozenset({"pool_size", "strides", "padding"}),
    "Multiply": frozenset(),
    "PReLU": frozenset({"shared_axes"}),
    "Permute": frozenset({"dims"}),
    "ReLU": frozenset({"max_value", "negative_slope", "threshold"}),
    "Rescaling": frozenset({"scale", "offset"}),
    "Reshape": frozenset({"target_shape"}),
    "Subtract": frozenset(),
    "ZeroPadding2D": frozenset({"padding"}),
}
ACTIVATIONS = frozenset(
    {"linear", "relu", "relu6", "sigmoid", "hard_sigmoid", "swish", "silu", "gelu", "elu", "selu", "softplus", "tanh"}
    | {"softmax"}
)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9.][A-Za-z0-9_.\\/>-]{0,199}$")]


class LayerStructure(Record):
    """This record is one layer without its weights."""

    name: Name
    kind: str = Field(description="This is the name of the layer's class in tf_keras.layers.")
    config: dict[str, Any] = Field(description="These are the arguments of its constructor.")
    reads: tuple[Name, ...] = Field(description="These are the layers that it reads; `images` is the network's input.")

    @model_validator(mode="after")
    def _is_known(self) -> LayerStructure:
        if self.kind not in LAYERS:
            raise ValueError(f"unknown layer {self.kind!r}")
        if others := set(self.config) - LAYERS[self.kind]:
            raise ValueError(f"{self.kind} with {', '.join(sorted(others))}")
        activation = self.config.get("activation", "linear")
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}")
        return self


class DescribedStructure(Record):
    """This record rebuilds a described graph without its weights."""

    kind: Literal["described"] = "described"
    input_size: Annotated[int, Field(strict=True, ge=1, le=MAX_INPUT_SIZE)]
    layers: tuple[LayerStructure, ...] = Field(min_length=1, max_length=_MOST_LAYERS)

    @model_validator(mode="after")
    def _every_layer_reads_earlier_ones(self) -> DescribedStructure:
        known = {IMAGES}
        for layer in self.layers:
            if layer.name in known:
                raise ValueError(f"two layers are named {layer.name}")
            if not layer.reads or not known.issuperset(layer.reads):
                raise ValueError(f"layer {layer.name} reads no earlier layer")
            known.add(layer.name)
        return self


@dataclass(frozen=True)
class DescribedLayer:
    """A ``DescribedLayer`` is one layer with its weights, in the order in which Keras lists them.

    Args:
        name: Its name, which no other layer of the network has.
        kind: The name of its class in tf_keras.layers, a key of ``LAYERS``.
        config: The arguments of its constructor, as JSON values.
        reads: The names of the layers that it reads. ``images`` is the network's input.
        weights: Its weights, such as the kernel and the bias.
    """

    name: str
    kind: str
    config: dict[str, Any]
    reads: tuple[str, ...]
    weights: tuple[Floats, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class DescribedNetwork:
    """A ``DescribedNetwork`` maps float32 (N, S, S, 3) to the output of its last layer.

    The layers stand in an order in which every layer reads earlier ones only. A reader describes the network as it is: its
    input has whatever range and order of channels the network was trained with.
    """

    input_size: int
    layers: tuple[DescribedLayer, ...]

    def structure(self) -> dict[str, Any]:
        """Return JSON values from which :func:`rebuild` builds the graph again. The weights are left out."""
        layers = [{"name": one.name, "kind": one.kind, "config": one.config, "reads": one.reads} for one in self.layers]
        made = DescribedStructure.model_validate({"input_size": self.input_size, "layers": layers})
        return made.as_json()

    def graph(self) -> Any:
        """Build the flat tf_keras.Model with its weights."""
        graph = rebuild(self.structure())
        for layer in self.layers:
            if layer.weights:
                graph.get_layer(layer.name).set_weights(list(layer.weights))
        return graph

    def with_layers(self, layers: Iterable[DescribedLayer]) -> DescribedNetwork:
        """Return the network with other layers in place of its own."""
        return replace(self, layers=tuple(layers))


def rebuild(structure: dict[str, Any]) -> Any:
    """Build the flat tf_keras.Model that ``structure`` describes. Its weights have no meaning yet.

    Raises ArtifactError for unknown, missing or impossible values.
    """
    described = parsed(DescribedStructure, structure)
    tensorflow()
    import tf_keras

    size = described.input_size
    outputs = {IMAGES: tf_keras.Input((size, size, 3), name=IMAGES)}
    output = outputs[IMAGES]
    for layer in described.layers:
        try:
            made = _made(layer)
            reads = [outputs[name] for name in layer.reads]
            output = outputs[layer.name] = made(reads if len(reads) > 1 else reads[0])
        except (TypeError, ValueError, OverflowError) as error:
            raise structure_fault(f"layer {layer.name}: {error}") from error
    return tf_keras.Model(outputs[IMAGES], output, name="network")


def _made(layer: LayerStructure) -> Any:
    from tf_keras import layers

    made = getattr(layers, layer.kind)(name=layer.name, **layer.config)
    if layer.kind == "Conv2D" and layer.config.get("groups", 1) > 1:
        # Keras lets XLA compile it, from the time when TensorFlow had no such kernel for the CPU. tf2onnx can't convert that call.
        made._jit_compiled_convolution_op = made.convolution_op
    return made


def plain_name(name: str, taken: Sequence[str] | set[str]) -> str:
    """Return a name that Keras and both file formats take, like ``name`` and unlike every one in ``taken``."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:150] or "layer"
    if not plain[0].isalnum():
        plain = f"layer_{plain}"
    made, number = plain, 1
    while made in taken or made == IMAGES:
        made, number = f"{plain}_{number}", number + 1
    return made


def to_files(network: DescribedNetwork) -> tuple[bytes, dict[str, Floats]]:
    """Return a network as the bytes of a JSON file and arrays by name, which pass between processes."""
    arrays = {
        f"{number}.{at}": one for number, layer in enumerate(network.layers) for at, one in enumerate(layer.weights)
    }
    counts = [len(layer.weights) for layer in network.layers]
    return json.dumps({"structure": network.structure(), "counts": counts}).encode(), arrays


def from_files(described: bytes, arrays: Any) -> DescribedNetwork:
    """Read back the network that :func:`to_files` wrote.

    Raises ArtifactError for what is damaged: a process that a model took over may have written it.
    """
    try:
        told = json.loads(described)
        structure, counts = parsed(DescribedStructure, told["structure"]), told["counts"]
        weights = [
            tuple(np.asarray(arrays[f"{number}.{at}"], np.float32) for at in range(count))
            for number, count in enumerate(counts)
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise structure_fault(str(error)) from error
    return DescribedNetwork(
        structure.input_size,
        tuple(
            DescribedLayer(layer.name, layer.kind, layer.config, layer.reads, values)
            for layer, values in zip(structure.layers, weights, strict=True)
        ),
    )
