"""Poolings take the largest number or the mean of windows, or of a whole map."""

from __future__ import annotations

from typing import Any

from tledge.importing.onnx_values import Layers, Node, Value, feature_map, plain
from tledge.importing.onnx_windows import Windows, padded, windows

_SHAPES_ONLY = {"Flatten", "Reshape", "Squeeze"}
_NEVER_BELOW_ZERO = {"relu", "relu6", "sigmoid", "softmax", "softplus", "hard_sigmoid"}
_KEEP_SIGN = {"MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D"} | {
    *("Concatenate", "Add", "Multiply", "Flatten", "Permute", "Reshape"),
}


def max_pool(node: Node, layers: Layers) -> Value:
    """Describe MaxPool, whose padding is never the largest number of a window."""
    if node.num_outputs > 1:
        raise node.unknown("gives the places of the largest numbers, too")
    value = layers.as_map(node.value(), node)
    return _pool(node, layers, value, "MaxPooling2D", zeros_are_exact=_is_never_negative(layers, value.layer))


def average_pool(node: Node, layers: Layers) -> Value:
    """Describe AveragePool, which counts its padding into the mean or does not."""
    value = layers.as_map(node.value(), node)
    return _pool(
        node, layers, value, "AveragePooling2D", zeros_are_exact=bool(node.attributes.get("count_include_pad"))
    )


def _pool(node: Node, layers: Layers, value: Value, kind: str, zeros_are_exact: bool) -> Value:
    sizes = tuple(int(size) for size in node.attributes["kernel_shape"])
    if any(dilation != 1 for dilation in node.attributes.get("dilations", [])):
        raise node.unknown("dilates its windows")
    channels, height, width = value.shape
    both = rows, columns = windows(node, sizes, height, width)
    counts_padding = kind == "AveragePooling2D" and zeros_are_exact and any(one.before or one.after for one in both)
    if counts_padding and any(one.beyond for one in both):
        raise node.unknown("counts its padding into the mean and reaches beyond it (ceil_mode)")
    config: dict[str, Any] = {"pool_size": list(sizes), "strides": [rows.step, columns.step]}
    if all(one.is_valid for one in both):
        made = layers.add(node.name, kind, value.layer, padding="valid", **config)
    elif not counts_padding and all(one.is_same for one in both):
        made = layers.add(node.name, kind, value.layer, padding="same", **config)
    elif zeros_are_exact and (kind == "MaxPooling2D" or counts_padding):
        layer = padded(node, layers, value.layer, rows, columns)
        made = layers.add(node.name, kind, layer, padding="valid", **config)
    elif all(one.is_centred for one in both):
        made = _centred(node, layers, value, kind, both)
    else:
        raise node.unknown(f"has pads {node.attributes.get('pads')} that no pooling of TensorFlow has")
    return feature_map(made, (rows.count, columns.count, channels))


def _centred(node: Node, layers: Layers, value: Value, kind: str, both: tuple[Windows, Windows]) -> str:
    """Describe a pooling as one around every pixel, of whose answers every ``step``-th is taken."""
    steps = [one.step for one in both]
    name = f"{node.name}_dense" if max(steps) > 1 else node.name
    sizes = [one.size for one in both]
    dense = layers.add(name, kind, value.layer, pool_size=sizes, strides=[1, 1], padding="same")
    if max(steps) == 1:
        return dense
    return layers.add(node.name, "MaxPooling2D", dense, pool_size=[1, 1], strides=steps, padding="valid")


def _is_never_negative(layers: Layers, name: str) -> bool:
    """Tell whether a layer gives no number below 0, as far as its kind and what it reads tell."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        layer = layers.layer(one)
        if layer is None:
            return False
        if layer.kind == "ReLU" and not layer.config.get("negative_slope"):
            continue
        if layer.kind == "Activation" and layer.config["activation"] in _NEVER_BELOW_ZERO:
            continue
        if layer.kind not in _KEEP_SIGN:
            return False
        waiting += layer.reads
    return True


def global_average_pool(node: Node, layers: Layers) -> Value:
    """Describe GlobalAveragePool as a layer."""
    value = layers.as_map(node.value(), node)
    return _whole(node, layers, value.layer, "GlobalAveragePooling2D", value.shape[0], _kept_shape(value))


def global_max_pool(node: Node, layers: Layers) -> Value:
    """Describe GlobalMaxPool as a layer."""
    value = layers.as_map(node.value(), node)
    return _whole(node, layers, value.layer, "GlobalMaxPooling2D", value.shape[0], _kept_shape(value))


def reduce_mean(node: Node, layers: Layers) -> Value:
    """Describe ReduceMean over the rows and the columns of a map."""
    value = node.value()
    rank = len(value.shape) + 1
    given = node.setting("axes", 1)
    if given is None and node.attributes.get("noop_with_empty_axes"):
        return value
    axes = sorted({int(axis) % rank for axis in (range(rank) if given is None else given)})
    if rank != 4 or len(axes) != 2 or 0 in axes:
        raise node.unknown(f"takes the mean over axes {axes} of {rank}, where tledge knows rows and columns of a map")
    spatial = [axis - 1 for axis in axes]
    (channel,) = {0, 1, 2} - set(spatial)
    value = layers.in_order(value, (*spatial, channel))
    kept = tuple(1 if axis in spatial else size for axis, size in enumerate(value.shape))
    shape = kept if node.attributes.get("keepdims", 1) else (value.shape[channel],)
    return _whole(node, layers, value.layer, "GlobalAveragePooling2D", value.shape[channel], shape)


def _kept_shape(value: Value) -> tuple[int, ...]:
    return (value.shape[0], 1, 1)


def _whole(node: Node, layers: Layers, layer: str, kind: str, channels: int, shape: tuple[int, ...]) -> Value:
    # A head flattens the map next, and a squeeze-and-excitation goes on with a map.
    is_head = len(shape) == 1 or (bool(node.readers) and set(node.readers) <= _SHAPES_ONLY)
    made = layers.add(node.name, kind, layer, keepdims=not is_head)
    if is_head:
        return plain(made, (channels,)).reshaped(shape)
    order = sorted(range(3), key=lambda axis: (shape[axis] != 1, axis))  # the channels lie last
    return plain(made, shape, order)


OPERATORS = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "ReduceMean": reduce_mean,
}
