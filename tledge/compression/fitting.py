"""Weights that are fitted to integer arithmetic, layer after layer, without labels and without training.

Rounding a layer's weights moves its output in a way that repeats on every photo. So each layer is given the inputs that
the quantized layers before it make, and the weights that bring its output nearest to what the float network has there:
least squares, held near the weights that were trained. What rounding then leaves in the mean of a channel goes into the
bias (Nagel et al., 2019, arXiv:1906.04721, section 4.2). Hubara et al., 2020 (arXiv:2006.10518), fit one layer after
another in the same sense, by gradient descent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import scratch_folder, stored
from tledge.compression import Prepared
from tledge.compression.folding import RELUS, WEIGHTED, Folded
from tledge.compression.least_squares import MOST_INPUTS, Moments, best
from tledge.compression.ranges import BINS, METHODS, Range, Seen
from tledge.preprocessing import Pixels
from tledge.progress import Progress
from tledge.room import require_space
from tledge.tensorflow_setup import tensorflow

_LARGEST_CODE = 127  # of a weight; -128 is not used, so that zero is in the middle
_BATCH_BYTES = 2**27  # of the patches that a convolution reads at a time
_NONE = np.zeros(BINS, np.int64)
_KEEPING = ("MaxPooling2D", "Flatten")  # codes in, the same codes out
Floats = npt.NDArray[np.float32]


@dataclass
class _Output:
    """What a layer makes of all photos, float32 (N, ...): in the float network, and in the quantized one.

    ``range``: of its codes; None where it is never coded, for the next operator is computed together with it. ``seen``: what
    that follows from, of every other photo and of the others. ``paths``: the files of both.
    """

    real: Floats
    quantized: Floats
    seen: tuple[Seen, Seen] | None
    range: Range | None
    paths: tuple[Path, ...]

    def uncoded(self, part: slice) -> Any:
        """Some photos of the float network."""
        return np.asarray(self.real[part])

    def coded(self, part: slice) -> Any:
        """Some photos of the quantized network, as their codes give them back."""
        tf = tensorflow()
        values = tf.constant(self.quantized[part])
        return values if self.range is None else tf.quantization.fake_quant_with_min_max_args(values, *self.range)


def prepare(
    folded: Folded,
    pixels: Pixels,
    range_method: str,
    progress: Progress,
    *,
    keeps_zeros: bool = False,
    float_layers: Collection[str] = (),
) -> Prepared:
    """Fit the weights of ``folded``, which change in place, and choose the ranges of its layers' outputs.

    ``pixels``: representative photos, uint8 (N, S, S, 3). ``range_method``: one of ``METHODS``. With ``keeps_zeros`` a
    weight that is zero stays so. ``float_layers`` keep the weights that were trained, and what only such layers read of
    them gets no codes; a ReLU and the layer that it alone reads go together. The outputs of a few layers at a time lie on
    the cache's disk.
    """
    network, codes = folded.network, folded.input_codes
    ranges: dict[str, Range] = {}
    seen: dict[str, tuple[Seen, Seen]] = {}
    num_fitted = num_weighted = 0
    with scratch_folder() as folder, progress.step("fitting int8 weights", len(network.layers)) as advance:
        require_space(folder, _most_bytes(network, len(pixels)))
        outputs = {network.layers[0].name: _Output(folded.images(pixels), codes.real(pixels), None, None, ())}
        for number, layer in enumerate(network.layers[1:]):
            before = [outputs[node.layer.name] for node in layer.inbound_nodes[0].parent_nodes]
            paths = (folder / f"{number}-real", folder / f"{number}-coded")  # a layer's name may hold a slash
            shape, size = layer.output_shape[1:], _batch_size(layer)
            run = _run(layer, [one.uncoded for one in before], len(pixels), size)
            real = stored(paths[0], run, shape, np.float32)
            if is_weighted(layer):
                is_float = layer.name in float_layers
                values, is_fitted = _fitted(layer, before[0], real, size, keeps_zeros, is_float)
                layer.set_weights(values)
                num_weighted, num_fitted = num_weighted + (not is_float), num_fitted + is_fitted
            run = _run(layer, [one.coded for one in before], len(pixels), size)
            made = _Output(real, stored(paths[1], run, shape, np.float32), None, None, paths)
            if type(layer).__name__ in _KEEPING:
                made.seen, made.range = before[0].seen, before[0].range
            elif not is_fused(layer) and not _is_among(layer, float_layers):
                made.seen = _seen(made.quantized)
                made.range = METHODS[range_method](made.seen[0] + made.seen[1])
            if made.range is not None and made.seen is not None:
                ranges[layer.name], seen[layer.name] = made.range, made.seen
            outputs[layer.name] = made
            _forget(outputs, network, layer)
            advance(1)
    notes = {
        "fitting": f"least squares, {num_fitted} of {num_weighted} layers",
        "ranges": range_method,
        "input_scale": codes.scale,
        "input_zero_point": codes.zero_point,
    }
    return Prepared(network, codes, ranges, notes, seen, tuple(float_layers))


def is_weighted(layer: Any) -> bool:
    """Whether it multiplies by weights that are fitted."""
    return type(layer).__name__ in WEIGHTED


def on_codes(layer: Any, kernel: npt.NDArray[Any]) -> Floats:
    """The layer's kernel as the nearest codes, -127 to 127 times a scale of the output channel, float32 of the same shape."""
    # (h, w, channels, multiplier) of a depthwise convolution: its output channels are the last two axes.
    num_output_axes = 2 if type(layer).__name__ == "DepthwiseConv2D" else 1
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - num_output_axes)), keepdims=True)
    scale = np.maximum(largest, 1e-9).astype(np.float64) / _LARGEST_CODE
    return np.asarray(np.round(kernel / scale) * scale, np.float32)


def is_fused(layer: Any) -> bool:
    """Whether its output is never coded: a ReLU alone reads it, which runtimes compute in the same operator.

    ``fold`` leaves no other activation.
    """
    return is_weighted(layer) and [type(node.layer).__name__ in RELUS for node in layer.outbound_nodes] == [True]


def _is_among(layer: Any, float_layers: Collection[str]) -> bool:
    """Whether it computes in float, and all that read it."""
    readers = [node.layer.name for node in layer.outbound_nodes]
    return bool(readers) and {layer.name, *readers} <= set(float_layers)


def _forget(outputs: dict[str, _Output], network: Any, layer: Any) -> None:
    """Drop what no layer after ``layer`` reads."""
    for name in outputs.keys() - _live(network, layer):
        for path in outputs.pop(name).paths:
            path.unlink()


def _live(network: Any, layer: Any) -> set[str]:
    """The layers up to ``layer`` whose outputs are read after it, and itself."""
    names = [one.name for one in network.layers]
    place = names.index(layer.name)
    later = set(names[place + 1 :])
    read = {one.name for one in network.layers[:place] if any(n.layer.name in later for n in one.outbound_nodes)}
    return read | {layer.name}


def _most_bytes(network: Any, num_photos: int) -> int:
    """Of the outputs that lie on the disk at one time: a layer's own, and those that it or a later one reads."""
    first, *_ = (layer.name for layer in network.layers)
    elements = {layer.name: int(np.prod(layer.output_shape[1:])) for layer in network.layers if layer.name != first}
    alive = (_live(network, before) | {layer.name} for before, layer in itertools.pairwise(network.layers))
    return 2 * 4 * num_photos * max(sum(elements.get(name, 0) for name in names) for names in alive)


def _batch_size(layer: Any) -> int:
    """Photos at a time: as many as patches of their input fit."""
    kernel = int(np.prod(getattr(layer, "kernel_size", (1,))))
    shapes = layer.input_shape if isinstance(layer.input_shape, list) else [layer.input_shape]
    return int(max(1, min(32, _BATCH_BYTES // (4 * kernel * max(int(np.prod(shape[1:])) for shape in shapes)))))


def _run(layer: Any, inputs: Sequence[Callable[[slice], Any]], num_photos: int, size: int) -> Iterator[Floats]:
    """The layer's output of all photos, some at a time; each of ``inputs`` gives what it reads of some photos."""
    for start in range(0, num_photos, size):
        read = [values(slice(start, start + size)) for values in inputs]
        yield layer(read if len(read) > 1 else read[0], training=False).numpy()


def _seen(values: Floats) -> tuple[Seen, Seen]:
    """Of every other photo, and of the others, in the same bins."""
    flat = values.reshape(len(values), -1)
    lows, highs = (np.array([pick(photo) for photo in flat], np.float32) for pick in (np.min, np.max))
    low, high = float(lows.min()), float(highs.max())
    high = max(high, low + 1e-6 * max(1.0, abs(low)))  # an output may never change

    def half(part: slice) -> Seen:
        # In 64 bits: 32 have no 2048 numbers between two that are near each other.
        counts = sum((np.histogram(photo.astype(np.float64), BINS, (low, high))[0] for photo in flat[part]), _NONE)
        return Seen(low, high, counts, lows[part], highs[part])

    return half(slice(0, None, 2)), half(slice(1, None, 2))


def _fitted(
    layer: Any, before: _Output, wanted: Floats, size: int, keeps_zeros: bool, is_float: bool
) -> tuple[list[Floats], bool]:
    """Kernel, on its grid of codes, and bias, for ``layer`` to give ``wanted`` (N, ...) from what is before it.

    And whether the kernel was fitted, not only rounded. ``wanted`` is the float network's. A depthwise convolution is as
    many small problems as it has channels. With ``is_float`` the kernel stays as it was trained.
    """
    kernel = layer.get_weights()[0].astype(np.float64)
    is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
    groups = kernel.shape[2] if is_depthwise else 1

    def by_group(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(groups, inputs, outputs): the axes of a group's patch, and of its outputs."""
        moved = np.moveaxis(values, 2, 0) if is_depthwise else values
        return moved.reshape(groups, -1, kernel.shape[-1])

    def as_kernel(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not is_depthwise:
            return values.reshape(kernel.shape)
        return np.moveaxis(values.reshape(groups, *kernel.shape[:2], kernel.shape[3]), 0, 2)

    trained = by_group(kernel)
    halves, shift = [Moments(*trained.shape), Moments(*trained.shape)], None
    for start in range(0, len(wanted), 2 * size):
        for number, half in enumerate(halves):  # every other photo
            part = slice(start + number, start + 2 * size, 2)
            if len(wanted[part]):
                read, targets = (
                    _patches(layer, before.coded(part), groups),
                    wanted[part].reshape(-1, groups, trained.shape[2]),
                )
                shift = shift or (read.mean(axis=0), targets.mean(axis=0))
                half.shift = shift
                half.add(read, targets)
    free = trained != 0 if keeps_zeros else None
    weights = trained if is_float or trained.shape[1] > MOST_INPUTS else best(halves, trained, free)
    inputs, outputs = (halves[0] + halves[1]).means()
    coded = kernel.astype(np.float32) if is_float else on_codes(layer, as_kernel(weights))
    bias = outputs - np.einsum("gk,gko->go", inputs, by_group(coded).astype(np.float64))
    return [coded, bias.reshape(-1).astype(np.float32)], weights is not trained


def _patches(layer: Any, values: Any, groups: int) -> Floats:
    """What each output position multiplies its weights with, float32 (n, groups, inputs of a group)."""
    if type(layer).__name__ == "Dense":
        return np.reshape(values.numpy(), (-1, 1, values.shape[-1]))
    channels, positions = values.shape[-1], int(np.prod(layer.kernel_size))
    if positions > 1 or max(layer.strides) > 1:
        strides, rates, kernel = ([1, *pair, 1] for pair in (layer.strides, layer.dilation_rate, layer.kernel_size))
        values = tensorflow().image.extract_patches(values, kernel, strides, rates, layer.padding.upper())
    rows = np.reshape(values.numpy(), (-1, positions, channels))
    return np.moveaxis(rows, 1, 2) if groups > 1 else np.reshape(rows, (-1, 1, positions * channels))
