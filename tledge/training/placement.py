"""Where a network is trained: as it is, on several devices at once, or in float16 arithmetic on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tledge.backbones import Backbone, rebuild
from tledge.errors import InputError
from tledge.tensorflow_setup import tensorflow
from tledge.training.network import HeadShape, with_head
from tledge.training.recipe import Recipe


@contextlib.contextmanager
def placed(network: Any, backbone: Backbone, head: HeadShape, recipe: Recipe) -> Iterator[Any]:
    """The network to train, within its strategy's scope: a copy with the same weights where it needs one.

    Raises InputError for an opaque backbone, which can't be built a second time.
    """
    if recipe.strategy == "none" and not recipe.mixed_precision:
        yield network
        return
    if backbone.structure is None:
        raise InputError(
            f"backbone {backbone.handle} is opaque: it can't be copied to several devices or to float16; "
            "drop --strategy and --mixed-precision"
        )
    tf = tensorflow()
    import tf_keras

    strategy = tf.distribute.MirroredStrategy() if recipe.strategy == "mirrored" else tf.distribute.get_strategy()
    policy = tf_keras.mixed_precision.global_policy()
    if recipe.mixed_precision:
        tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with strategy.scope():
            graph = rebuild(backbone.structure)
            copy = with_head(graph.input, graph.output, head, seed=0)
            copy.set_weights(network.get_weights())
            yield copy
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
