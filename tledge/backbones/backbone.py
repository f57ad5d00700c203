"""A ``Backbone`` is a frozen feature extractor, with the graph of its layers where they are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tledge.backbones.layer import features_function
from tledge.preprocessing import Pixels
from tledge.records import BackboneRecord

if TYPE_CHECKING:
    from tledge.backbones.apart import Apart

RESCALE = "rescale"  # names the layer that maps [0, 1] to the range which the network takes


@dataclass(frozen=True)
class Opaque:
    """An ``Opaque`` says why a backbone has no flat graph. ``reason`` is a sentence that names the backbone."""

    reason: str


@dataclass(frozen=True)
class Backbone:
    """A ``Backbone`` is a loaded feature extractor.

    Args:
        handle: The handle that opens the same backbone again.
        sha256: The hash of all that its features depend on.
        input_size: The side S of its photos in pixels.
        feature_dim: The number of features of one photo.
        layer: Computes float32 (N, feature_dim) from float32 RGB (N, S, S, 3) in [0, 1]. It is the graph, or else a
            tensorflow_hub.KerasLayer, whose object is saved with a run.
        graph: The layer as a flat functional tf_keras.Model, whose layers can be named, cut and trained. It is None where
            the network is opaque, such as a Hub module of unknown structure.
        structure: JSON values that build the graph again, without its weights. It is None where there is no graph.
        is_pretrained: Whether the weights were trained. Features of weights that were drawn at random say little, and
            such a backbone is trained as a whole.
        apart: Computes the features of a stranger's module in a process of its own. It is None for a network that is ours.
        take_apart: Looks for the layers of a backbone without a graph, and proves them on a few photos. It is None where
            the source knows no way.
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
    take_apart: Callable[[Backbone, Pixels], Backbone | Opaque] | None = None

    @cached_property
    def features_of_pixels(self) -> Any:
        """Return a tf.function that computes features, float32 (N, feature_dim), from raw pixels, uint8 (N, S, S, 3)."""
        return features_function(self.layer)

    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Compute float32 (N, feature_dim) from uint8 RGB (N, S, S, 3) by TensorFlow. A stranger's module runs in its process."""
        if self.apart is not None:
            return self.apart.features(pixels)
        return np.asarray(self.features_of_pixels(pixels), np.float32)

    def flat(self, photos: Pixels) -> Backbone | Opaque:
        """Return the same backbone with ``graph`` and ``structure``, or the reason why its layers are unknown.

        ``photos``: uint8 RGB (N, S, S, 3), a few dozen at most. The layers that were found are proved on them. In a graph that
        is made here all layers but ``rescale`` are trainable. The caller freezes those that it does not train.
        """
        if self.graph is not None:
            return self
        if self.take_apart is None:
            return Opaque(
                f"backbone {self.handle!r} can't be taken apart into layers, and can serve as frozen features only"
            )
        return self.take_apart(self, photos)

    @property
    def output_name(self) -> str:
        """Return the name of the layer that gives the features."""
        return str(self.layer.name if self.graph is None else self.graph.layers[-1].name)

    def close(self) -> None:
        """End the process of a stranger's module, if there is one."""
        if self.apart is not None:
            self.apart.close()

    def record(self) -> BackboneRecord:
        """Return the record of the backbone for the manifest."""
        return BackboneRecord(
            handle=self.handle, sha256=self.sha256, input_size=self.input_size, feature_dim=self.feature_dim
        )
