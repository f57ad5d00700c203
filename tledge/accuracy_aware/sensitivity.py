"""This module decides which layers lose most by integer arithmetic and which of them compute in float."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.codes import Grid
from tledge.compression.folding import Folded
from tledge.compression.layer_roles import host_of, is_fused, is_weighted, kind_of
from tledge.compression.ranges import with_zero
from tledge.preprocessing import Pixels
from tledge.tensorflow_setup import tensorflow

Floats = npt.NDArray[np.float32]
NUM_PHOTOS = 16
_PLAIN = Grid()


def ranked(folded: Folded, calibration_photos: Pixels, grid: Grid = _PLAIN) -> dict[str, float]:
    """Measure the relative squared error that quantization causes in each layer alone, and sort the layers by it.

    Each layer reads the float network's values after rounding to 8 bits, and has rounded weights. Its output is
    rounded to 8 bits too and compared with its float output. The error is the sum of squared differences over the sum
    of squares.

    Layers that keep quantized values unchanged are left out. A fused ReLU stands for the layer that it reads.
    ``calibration_photos`` are uint8 (N, S, S, 3). Every layer has the same ``grid``. The result goes from layer name
    to error, the largest error first.
    """
    network, rounded = folded.network, folded.copied().network
    for layer in rounded.layers:
        if is_weighted(layer):
            kernel, bias = layer.get_weights()
            layer.set_weights([grid.on_codes(layer, kernel), bias])
    first = network.layers[0].name
    real = {first: folded.images(calibration_photos)}
    coded = {first: folded.input_codes.real(calibration_photos)}  # a fused layer's output is not rounded yet
    errors = {}
    for number, layer in enumerate(network.layers[1:], start=1):
        before = _before(layer)
        real[layer.name] = _run(layer, [real[name] for name in before])
        if kind_of(layer).keeps_values:
            coded[layer.name] = _coded(real[layer.name], real[layer.name])
        elif is_fused(layer):
            coded[layer.name] = _run(rounded.get_layer(layer.name), [coded[name] for name in before])
        else:
            made = _run(rounded.get_layer(layer.name), [coded[name] for name in before])
            difference = _coded(made, real[layer.name]) - real[layer.name]
            errors[layer.name] = _power(difference) / max(_power(real[layer.name]), np.finfo(np.float64).tiny)
            coded[layer.name] = _coded(real[layer.name], real[layer.name])
        later = {name for one in network.layers[number + 1 :] for name in _before(one)}
        for name in real.keys() - later:
            del real[name], coded[name]
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def choices(network: Any, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which layers compute in float when the first of ``names`` does, when the first two do, and so on.

    A layer in float reads float inputs. So the layers that make these inputs, and all others that read them, compute
    in float too. Each set is in the order of the network and differs from the one before. At least one layer with
    weights stays integer.
    """
    found: list[tuple[str, ...]] = []
    floats: set[str] = set()
    for name in names:
        floats |= set(_with_inputs(network, network.get_layer(name)))
        chosen = tuple(layer.name for layer in network.layers if layer.name in floats)
        if all(layer.name in floats for layer in network.layers if is_weighted(layer)):
            break
        if not found or chosen != found[-1]:
            found.append(chosen)
    return found


def _with_inputs(network: Any, layer: Any) -> Iterator[str]:
    """Yield the names of all layers that compute in float where ``layer`` does."""
    whole = _whole(layer)
    yield from (one.name for one in whole)
    for name in _before(whole[0]):
        source = network.get_layer(name)
        while kind_of(source).keeps_values:
            source = network.get_layer(_before(source)[0])
        if source is not network.layers[0]:
            yield from (one.name for one in _whole(source))
            yield from _readers(source)


def _readers(layer: Any) -> Iterator[str]:
    """Yield the names of all layers that read a layer's output.

    A reader that keeps quantized values unchanged counts, and so do the readers behind it.
    """
    for node in layer.outbound_nodes:
        yield from (one.name for one in _whole(node.layer))
        if kind_of(node.layer).keeps_values:
            yield from _readers(node.layer)


def _whole(layer: Any) -> list[Any]:
    """Return the layers of the operator that computes ``layer``: one alone, or one with weights and its fused ReLU."""
    if is_fused(layer):
        return [layer, layer.outbound_nodes[0].layer]
    host = host_of(layer)
    return [layer] if host is None else [host, layer]


def _before(layer: Any) -> list[str]:
    return [node.layer.name for node in layer.inbound_nodes[0].parent_nodes]


def _run(layer: Any, values: Sequence[Floats]) -> Floats:
    return np.asarray(layer(list(values) if len(values) > 1 else values[0], training=False))


def _coded(values: Floats, seen: Floats) -> Floats:
    """Round values to 8 bits over the range of ``seen``, and return the real numbers that they stand for."""
    low, high = with_zero(float(seen.min()), float(seen.max()))
    return np.asarray(tensorflow().quantization.fake_quant_with_min_max_args(values, low, high))


def _power(values: Floats) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))
