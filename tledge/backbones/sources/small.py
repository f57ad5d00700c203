"""This source makes networks that are trained from scratch, LeNet-5 and AlexNet, as flat Keras graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from tledge.backbones.backbone import Backbone
from tledge.backbones.graph import initialise, of_graph
from tledge.backbones.source import MAX_INPUT_SIZE, NO_WEIGHTS, BackboneSource
from tledge.backbones.structure import parsed, structure_fault
from tledge.errors import InputError
from tledge.records import Record
from tledge.tensorflow_setup import tensorflow

KIND = "small"


class SmallStructure(Record):
    """This record rebuilds the graph without its weights."""

    kind: Literal["small"] = "small"
    network: Literal["alexnet", "lenet"]
    input_size: Annotated[int, Field(strict=True, ge=1, le=MAX_INPUT_SIZE)]


@dataclass(frozen=True)
class _Network:
    layers: Callable[[Any], Any]
    default_size: int
    min_size: int  # below it, no pixel is left for a pooling layer
    max_size: int  # a dense layer grows with the picture's area: a slip of the finger must not fill the memory


def _open(name: str, input_size: int | None, weights: str | None, seed: int) -> Backbone:
    """Make ``lenet`` or ``alexnet`` with weights drawn from ``seed``. The same seed gives the same weights.

    The ``layer`` and ``graph`` of the backbone compute the last hidden layer, float32 (N, feature_dim), from float32 RGB
    (N, S, S, 3) in [0, 1]. An ``input_size`` of None is 28 for lenet, which is MNIST's own. It is 64 for alexnet, which is
    quick to train: its strides leave no pixel below 63. Raises InputError for a size out of range, or for trained weights.
    """
    if weights not in (None, NO_WEIGHTS):
        raise InputError(f"backbone {name!r} is trained from scratch. Drop --weights {weights}.")
    network = _NETWORKS[name]
    size = network.default_size if input_size is None else input_size
    if not network.min_size <= size <= network.max_size:
        raise InputError(f"--image-size {size}: {name} takes {network.min_size} to {network.max_size} pixels a side")
    structure = SmallStructure.model_validate({"network": name, "input_size": size})
    graph = _graph(structure)
    initialise(graph, seed)
    return of_graph(name, graph, structure.as_json(), is_pretrained=False)


def _rebuild(structure: dict[str, Any]) -> Any:
    """Build the flat tf_keras.Model that ``structure`` describes. Its weights have no meaning yet.
    Raises ArtifactError for unknown, missing or impossible values.
    """
    described = parsed(SmallStructure, structure)
    network = _NETWORKS[described.network]
    if not network.min_size <= described.input_size <= network.max_size:
        raise structure_fault(f"{described.network} of input_size {described.input_size}")
    return _graph(described)


def _graph(structure: SmallStructure) -> Any:
    tensorflow()
    import tf_keras
    from tf_keras import layers

    images = layers.Input((structure.input_size, structure.input_size, 3), name="images")
    return tf_keras.Model(images, _NETWORKS[structure.network].layers(images), name=structure.network)


def _lenet(x: Any) -> Any:
    """Build LeNet-5 (LeCun et al., 1998, Proceedings of the IEEE 86(11)). Its layers are named as in the paper.

    ReLU replaces the scaled tanh, and max pooling replaces the trained averages. Every map of C3 reads every map of S2. C1
    pads its input, as the paper's frame of 32 x 32 around digits of 28 x 28 does.
    """
    from tf_keras import layers

    x = layers.Conv2D(6, 5, padding="same", activation="relu", kernel_initializer="he_normal", name="c1")(x)
    x = layers.MaxPooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="relu", kernel_initializer="he_normal", name="c3")(x)
    x = layers.MaxPooling2D(2, name="s4")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, "relu", kernel_initializer="he_normal", name="c5")(x)
    return layers.Dense(84, "relu", kernel_initializer="he_normal", name="f6")(x)


def _alexnet(x: Any) -> Any:
    """Build AlexNet (Krizhevsky et al., 2012) in a single tower.

    Batch normalization after every convolution replaces the response normalization after the first two. The dense layers
    have four units for each input, and at most the 4096 of the paper. They have 4096 from 95 pixels a side on. At 64 pixels
    they have 1024, where a layer of 4096 would read 256 numbers.
    """
    from tf_keras import layers

    def conv(x: Any, number: int, channels: int, kernel_size: int, stride: int = 1, padding: str = "same") -> Any:
        x = layers.Conv2D(
            channels, kernel_size, stride, padding, use_bias=False, kernel_initializer="he_normal", name=f"conv{number}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn{number}")(x)
        return layers.ReLU(name=f"relu{number}")(x)

    # The paper's 224 pixels give its 55 x 55 maps only with a padding of two.
    x = conv(layers.ZeroPadding2D(2, name="pad1")(x), 1, 96, 11, 4, "valid")
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(conv(x, 2, 256, 5))
    x = conv(conv(conv(x, 3, 384, 3), 4, 384, 3), 5, 256, 3)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(3, 2, name="pool5")(x))
    units = min(4 * x.shape[1], 4096)
    x = layers.Dense(units, "relu", kernel_initializer="he_normal", name="fc6")(x)
    x = layers.Dropout(0.5, name="dropout6")(x)
    return layers.Dense(units, "relu", kernel_initializer="he_normal", name="fc7")(x)


_NETWORKS = {"alexnet": _Network(_alexnet, 64, 63, 256), "lenet": _Network(_lenet, 28, 12, 128)}

SOURCE = BackboneSource(
    name=KIND,
    names=tuple(_NETWORKS),
    forms=(),
    claims=lambda handle: "name" if handle in _NETWORKS else None,
    open=_open,
    is_pretrained=lambda weights: False,
    takes_weights=False,
    rebuild={KIND: _rebuild},
)
