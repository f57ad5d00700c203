"""A handle becomes a Backbone: a frozen feature extractor. One kind of source is one file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tledge.errors import ArtifactError, InputError, first_problem
from tledge.preprocessing import PIXEL_SCALE, Pixels
from tledge.records import BackboneRecord, Record

if TYPE_CHECKING:
    from tledge.backbones.apart import Apart

DEFAULT = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"
BUNDLED = "bundled"
KERAS = "keras:"  # before the name of a network of tf_keras.applications
SMALL = ("alexnet", "lenet")
NO_WEIGHTS = "none"
RESCALE = "rescale"  # the layer of a graph from [0, 1] to what its network takes
S = TypeVar("S", bound=Record)
_KERNELS = {  # of Keras' layers, each with the attribute that holds its initializer
    "kernel": "kernel_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}
MAX_INPUT_SIZE = 4096  # far over any image classifier's: it stops a slip of the finger, not a use


@dataclass(frozen=True)
class Backbone:
    """A loaded feature extractor. ``layer``: float32 RGB (N, S, S, 3) in [0, 1] to float32 (N, feature_dim).

    ``graph``: the same as a flat functional tf_keras.Model, whose layers can be named, cut and trained; None where the
    network is opaque, a Hub module of unknown structure. ``structure``: JSON values that build ``graph`` again, without
    its weights; None where there is no graph. ``is_pretrained``: whether its weights were trained; features of one
    whose weights were drawn at random say little, and it is trained as a whole. ``apart``: what computes the features of
    a stranger's module in a process of its own; None for a network that is ours.
    """

    handle: str
    sha256: str
    input_size: int
    feature_dim: int
    layer: Any
    graph: Any | None = None
    structure: dict[str, Any] | None = None
    is_pretrained: bool = True
    apart: Apart | None = None

    @cached_property
    def features_of_pixels(self) -> Any:
        """A tf.function of raw pixels, uint8 (N, S, S, 3), to features, float32 (N, feature_dim)."""
        return features_function(self.layer)

    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """uint8 RGB (N, S, S, 3) to float32 (N, feature_dim), as TensorFlow computes them: a stranger's in its process."""
        if self.apart is not None:
            return self.apart.features(pixels)
        return np.asarray(self.features_of_pixels(pixels), np.float32)

    def close(self) -> None:
        """End the process of a stranger's module, if there is one."""
        if self.apart is not None:
            self.apart.close()

    def record(self) -> BackboneRecord:
        """What the manifest says of it."""
        return BackboneRecord(
            handle=self.handle, sha256=self.sha256, input_size=self.input_size, feature_dim=self.feature_dim
        )


def features_function(layer: Any) -> Any:
    """A tf.function of raw pixels, uint8 (N, S, S, 3), to what a layer of RGB in [0, 1] makes of them in inference."""
    import tensorflow as tf

    # Without autograph: there is nothing to rewrite, and looking for it takes a second.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return layer(tf.cast(pixels, tf.float32) * PIXEL_SCALE, training=False)

    return features


def is_address(handle: str) -> bool:
    """Whether a handle is a Hub's address, which means the same module on any machine."""
    return "://" in handle


def is_name(handle: str) -> bool:
    """Whether a handle names a backbone by anything but a path."""
    return handle in (BUNDLED, *SMALL) or handle.startswith(KERAS) or is_address(handle)


def open_backbone(handle: str, input_size: int | None = None, weights: str | None = None, seed: int = 0) -> Backbone:
    """Load a backbone: ``bundled``, a TensorFlow Hub handle, a local folder in the Hub's format, ``keras:NAME`` for a
    network of tf_keras.applications, or ``alexnet`` or ``lenet``, to be trained from scratch.

    ``input_size``: None for the backbone's own; a Hub module that takes any size needs one.
    ``weights``, of a ``keras:`` network: None or ``imagenet``, ``none`` for weights drawn from ``seed``, or an HDF5 file.
    Raises InputError for a size out of range, or weights for a backbone that brings its own.
    """
    if input_size is not None and not 1 <= input_size <= MAX_INPUT_SIZE:
        raise InputError(f"--image-size {input_size}: use a whole number from 1 to {MAX_INPUT_SIZE}")
    if handle.startswith(KERAS):
        from tledge.backbones.keras_applications import open_keras

        return open_keras(handle.removeprefix(KERAS), input_size, weights, seed)
    if handle in SMALL:
        from tledge.backbones.small import open_small

        if weights not in (None, NO_WEIGHTS):
            raise InputError(f"backbone {handle!r} is trained from scratch; drop --weights {weights}")
        return open_small(handle, input_size, seed)
    if weights is not None:
        raise InputError(
            f"backbone {handle!r} brings its own weights; drop --weights {weights}, or use --backbone keras:NAME"
        )
    from tledge.backbones import hub

    return hub.open_hub(handle, input_size)


def is_pretrained(handle: str, weights: str | None) -> bool:
    """Whether :func:`open_backbone` would give trained weights, told without loading them."""
    return handle not in SMALL and weights != NO_WEIGHTS


def rebuild(structure: dict[str, Any]) -> Any:
    """The flat tf_keras.Model that a backbone's ``structure`` describes, with weights of no meaning.

    Raises ArtifactError for a structure that is unknown or damaged: it was read from a file.
    """
    kind = structure.get("kind") if isinstance(structure, dict) else None
    if kind == "mobilenet_v2":
        from tledge.backbones import mobilenet_v2

        return mobilenet_v2.build(structure)
    if kind == "keras_applications":
        from tledge.backbones import keras_applications

        return keras_applications.build(structure)
    if kind == "small":
        from tledge.backbones import small

        return small.build(structure)
    raise structure_fault(f"unknown kind {kind!r}")


def parsed(kind: type[S], structure: dict[str, Any]) -> S:
    """A structure as its record. Raises ArtifactError for unknown, missing or impossible values."""
    try:
        return kind.model_validate(structure)
    except ValidationError as error:
        raise structure_fault(str(first_problem(error))) from error


def structure_fault(fault: str) -> ArtifactError:
    """The error for a structure that builds nothing."""
    return ArtifactError(f"the structure of the backbone is damaged: {fault}; train again with tledge build")


def of_graph(handle: str, graph: Any, structure: dict[str, Any], *, is_pretrained: bool) -> Backbone:
    """The backbone that a flat graph is; ``sha256`` is of its structure and the bytes of its weights."""
    digest = hashlib.sha256(json.dumps(structure, sort_keys=True).encode())
    for values in graph.get_weights():
        digest.update(np.ascontiguousarray(values).tobytes())
    input_size, feature_dim = graph.input_shape[1], graph.output_shape[1]
    return Backbone(handle, digest.hexdigest(), input_size, feature_dim, graph, graph, structure, is_pretrained)


def initialise(graph: Any, seed: int) -> None:
    """Draw the kernels of a graph's trainable layers from ``seed``, each by its own initializer.

    Keras draws from a state that all of a process share; these values depend on ``seed`` and the layer's place alone.
    """
    for number, layer in enumerate(layer for layer in graph.layers if layer.trainable):
        for kernel, initializer in _KERNELS.items():
            rule = getattr(layer, initializer, None)
            if rule is None or not hasattr(layer, kernel) or "seed" not in rule.get_config():  # a constant has none
                continue
            drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
            variable = getattr(layer, kernel)
            rule = type(rule).from_config({**rule.get_config(), "seed": drawn})
            variable.assign(rule(variable.shape, variable.dtype))
