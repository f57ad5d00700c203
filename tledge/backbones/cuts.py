"""This module finds where a graph can be cut in two.

The activations below a cut are computed once, and the layers above it are trained.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tledge.errors import unknown


def cut_points(graph: Any) -> list[str]:
    """Find the layers of a functional tf_keras.Model whose one output is all that later layers read.

    Returns their names in the order of the graph.
    """
    reads = _reads(graph)
    readers = Counter(source for sources in reads.values() for source in sources)
    points: list[str] = []
    is_open: dict[str, int] = {}
    for layer in graph.layers:  # every layer comes after those that it reads
        for source in reads[layer.name]:
            is_open[source] -= 1
            if not is_open[source]:
                del is_open[source]
        if layer.name in readers:
            is_open[layer.name] = readers[layer.name]
        if list(is_open) == [layer.name]:
            points.append(layer.name)
    return points


def cut_below(graph: Any, first: str) -> str:
    """Return the last cut point before the layer or block ``first``, such as ``block_13`` or ``block_13_expand``.

    Raises InputError where there is no such layer; the error lists the blocks.
    """
    names: list[str] = [layer.name for layer in graph.layers]
    start = next((number for number, name in enumerate(names) if name == first or name.startswith(f"{first}_")), None)
    if start is None or start == 0:
        blocks = {"_".join(name.split("_")[:2]) for name in names[1:]}  # block_13_expand belongs to block_13
        raise unknown("layer or block to train from", first, blocks, "Or one layer of these.")
    points = set(cut_points(graph))
    return next(name for name in reversed(names[:start]) if name in points)


def split(graph: Any, name: str) -> tuple[Any, Any]:
    """Split a graph into two models that share its layers: up to the output of layer ``name``, and from there on."""
    from tledge.tensorflow_setup import tensorflow

    tensorflow()
    import tf_keras

    middle = graph.get_layer(name).output
    return tf_keras.Model(graph.input, middle), tf_keras.Model(middle, graph.output)


def _reads(graph: Any) -> dict[str, list[str]]:
    """Return the names of the layers of ``graph`` that each layer reads, by the name of the layer."""
    names = {layer.name for layer in graph.layers}
    return {
        layer.name: [
            parent.layer.name
            for node in layer.inbound_nodes
            for parent in node.parent_nodes
            if parent.layer.name in names
        ]
        for layer in graph.layers
    }
