"""Where a graph can be cut in two: below, activations that are computed once; above, layers that are trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tledge.errors import unknown


def cut_points(graph: Any) -> list[str]:
    """Layers of a functional tf_keras.Model whose one output is all that later layers read, in the graph's order."""
    reads = _reads(graph)
    readers = Counter(source for sources in reads.values() for source in sources)
    points: list[str] = []
    is_open: dict[str, int] = {}
    for layer in graph.layers:  # in an order in which every layer comes after what it reads
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
    """The last cut point before the layer or block ``first``, such as ``block_13`` or ``block_13_expand``.

    Raises InputError that lists the blocks where there is no such layer.
    """
    names: list[str] = [layer.name for layer in graph.layers]
    start = next((number for number, name in enumerate(names) if name == first or name.startswith(f"{first}_")), None)
    if start is None or start == 0:
        blocks = {"_".join(name.split("_")[:2]) for name in names[1:]}  # of block_13_expand: block_13
        raise unknown("layer or block to train from", first, blocks, "Or one layer of these.")
    points = set(cut_points(graph))
    return next(name for name in reversed(names[:start]) if name in points)


def split(graph: Any, name: str) -> tuple[Any, Any]:
    """Two models that share the graph's layers: from its input to the output of layer ``name``, and from there on."""
    from tledge.tensorflow_setup import tensorflow

    tensorflow()
    import tf_keras

    middle = graph.get_layer(name).output
    return tf_keras.Model(graph.input, middle), tf_keras.Model(middle, graph.output)


def _reads(graph: Any) -> dict[str, list[str]]:
    """Of every layer, the layers of ``graph`` that it reads, by name."""
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
