"""This module fits weights to integer arithmetic, layer after layer, without labels and without training.

Rounding a layer's weights shifts its output in the same way on every photo. New weights can therefore correct part of
the error. Each layer gets the inputs that the quantized layers before it compute. A regularized least-squares fit then
chooses weights near the trained ones, so that the layer's output is as close as possible to the float network's. The
bias corrects the mean error that remains in each channel (Nagel et al., 2019, arXiv:1906.04721, section 4.2). Hubara
et al., 2020 (arXiv:2006.10518), also fit one layer after another, but by gradient descent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tledge.cache import scratch_folder, stored
from tledge.compression.codes import NO_GRIDS, Grid
from tledge.compression.folding import Folded
from tledge.compression.layer_roles import host_of, is_fused, is_weighted, kernel_of, kind_of
from tledge.compression.least_squares import MOST_INPUTS, Moments, best
from tledge.compression.notes import FittingNotes
from tledge.compression.one_by_one import on_coarse_codes
from tledge.compression.prepared_network import PreparedNetwork
from tledge.compression.ranges import BINS, METHODS, Histogram, Range
from tledge.errors import ArtifactError
from tledge.preprocessing import Pixels
from tledge.progress import Progress
from tledge.room import require_memory, require_space
from tledge.tensorflow_setup import tensorflow

_BATCH_BYTES = 2**27  # the size of the patches that a convolution reads at a time
# This many positions, in the maps of all photos together, are enough for the sums and for each weight of an output.
_ENOUGH_POSITIONS, _ENOUGH_FOR_A_WEIGHT = 2**14, 2**7
_NONE = np.zeros(BINS, np.int64)
Floats = npt.NDArray[np.float32]


@dataclass
class _Output:
    """An output holds what a layer computes for all photos, float32 (N, ...).

    ``real`` is the float network's output, ``quantized`` the quantized network's. ``range`` is None where the output
    is not quantized. ``seen`` are the histograms from which the range follows, one of the even photos and one of the
    odd photos. ``paths`` are the files of ``real`` and ``quantized``.
    """

    real: Floats
    paths: tuple[Path, ...] = ()
    quantized: Floats | None = None
    seen: tuple[Histogram, Histogram] | None = None
    range: Range | None = None

    def uncoded(self, part: slice) -> Any:
        """Return the float network's output for some photos."""
        return np.asarray(self.real[part])

    def coded(self, part: slice) -> Any:
        """Return the real numbers that the quantized network's output stands for, for some photos."""
        tf = tensorflow()
        assert self.quantized is not None
        values = tf.constant(self.quantized[part])
        return values if self.range is None else tf.quantization.fake_quant_with_min_max_args(values, *self.range)


def fit_network(
    folded: Folded,
    calibration_photos: Pixels,
    range_method: str,
    progress: Progress,
    *,
    keeps_zeros: bool = False,
    float_layers: Collection[str] = (),
    bounds_pairs: bool = False,
    grids: Mapping[str, Grid] = NO_GRIDS,
) -> PreparedNetwork:
    """Fit the weights of ``folded``, which change in place, and choose the ranges of its layers' outputs.

    The outputs of a few layers at a time are stored on the cache's disk.

    Args:
        folded: the network whose weights are fitted.
        calibration_photos: the representative data set, uint8 (N, S, S, 3).
        range_method: one of ``METHODS``.
        progress: is told of every layer.
        keeps_zeros: whether weights that are zero stay zero, as after pruning.
        float_layers: the layers that compute in float. Their kernels are not changed. An output that only they read
            is not quantized. A fused ReLU and its layer go together.
        bounds_pairs: whether every pair of weights fits into 16 bits, as in a ``Grid``.
        grids: the grids of some layers, by name. The others have all quantized values.

    Raises:
        ArtifactError: a layer gives infinite or undefined values.
    """
    import scipy.linalg  # noqa: F401 - threadpool_limits reaches libraries that are loaded already

    network, codes = folded.network, folded.input_codes
    ranges: dict[str, Range] = {}
    seen: dict[str, tuple[Histogram, Histogram]] = {}
    done, num_fitted, num_weighted = {network.layers[0].name}, 0, 0
    operators = list(_operators(network))
    with (
        scratch_folder() as folder,
        ThreadPoolExecutor(1) as ahead,
        # One thread: OpenBLAS' threads wait busily for each other, ten times as long where other programs run.
        threadpool_limits(1, user_api="blas"),
        progress.step("fitting int8 weights", len(network.layers) - 1) as advance,
    ):
        require_space(folder, _most_bytes(network, len(calibration_photos)))
        twice_float32 = 2 * 4 * calibration_photos.size
        require_memory(
            twice_float32, f"fitting to {len(calibration_photos)} photos", "Use fewer --calibration-samples."
        )
        pixels = _Output(folded.images(calibration_photos), quantized=codes.real(calibration_photos))
        outputs = {network.layers[0].name: pixels}

        # The outputs that this layer reads are still stored, because this layer is not done.
        def in_float(number: int) -> tuple[_Output, _Wanted]:
            layer, *relus = operators[number]
            last, wanted = [layer, *relus][-1], _Wanted(layer, len(calibration_photos))
            before = [one.uncoded for one in _read(layer, outputs)]
            paths = folder / f"{number}-real", folder / f"{number}-coded"  # a layer's name may hold a slash
            run = _run(layer, relus, before, len(calibration_photos), _batch_size(layer), wanted.keep)
            return _Output(stored(paths[0], run, last.output_shape[1:], np.float32), paths), wanted

        pending = ahead.submit(in_float, 0)
        for number, (layer, *relus) in enumerate(operators):
            last, size, before = [layer, *relus][-1], _batch_size(layer), _read(layer, outputs)
            made, wanted = pending.result()
            outputs[last.name] = made
            if number + 1 < len(operators):  # the next layer still has its trained weights
                pending = ahead.submit(in_float, number + 1)
            if is_weighted(layer):
                is_float = layer.name in float_layers
                grid = None if is_float else grids.get(layer.name, Grid(bounds_pairs=bounds_pairs))
                values, is_fitted = _fitted(layer, before[0], wanted, size, keeps_zeros, grid)
                layer.set_weights(values)
                num_weighted, num_fitted = num_weighted + (not is_float), num_fitted + is_fitted
            run = _run(layer, relus, [one.coded for one in before], len(calibration_photos), size)
            made.quantized = stored(made.paths[1], run, last.output_shape[1:], np.float32)
            if kind_of(layer).keeps_values:
                made.seen, made.range = before[0].seen, before[0].range
                if before[0] is pixels:
                    made.range = codes.range
            elif not _is_among(last, float_layers):
                made.seen = _seen(made.quantized)
                made.range = METHODS[range_method](made.seen[0] + made.seen[1])
            if made.range is not None:
                ranges[last.name] = made.range
            if made.seen is not None:
                seen[last.name] = made.seen
            done |= {layer.name, last.name}
            for name in outputs.keys() - _live(network, done):
                for path in outputs.pop(name).paths:
                    path.unlink()
            advance(1 + len(relus))
    notes = FittingNotes(
        fitting=f"least squares, {num_fitted} of {num_weighted} layers",
        ranges=range_method,
        input_scale=codes.scale,
        input_zero_point=codes.zero_point,
    )
    return PreparedNetwork(network, codes, ranges, notes, seen, tuple(float_layers), bounds_pairs)


def _read(layer: Any, outputs: Mapping[str, _Output]) -> list[_Output]:
    """Return the outputs that a layer reads."""
    return [outputs[node.layer.name] for node in layer.inbound_nodes[0].parent_nodes]


def _operators(network: Any) -> Iterator[list[Any]]:
    """Yield the layers of each operator after the input: one layer alone, or one with weights and its fused ReLU."""
    for layer in network.layers[1:]:
        if is_fused(layer):
            yield [layer, layer.outbound_nodes[0].layer]
        elif host_of(layer) is None:
            yield [layer]


def _is_among(layer: Any, float_layers: Collection[str]) -> bool:
    """Return whether a layer and all layers that read it compute in float."""
    readers = [node.layer.name for node in layer.outbound_nodes]
    return bool(readers) and {layer.name, *readers} <= set(float_layers)


def _live(network: Any, done: Collection[str]) -> set[str]:
    """Return the names of the layers in ``done`` that a layer not in ``done`` still reads."""
    return {
        layer.name
        for layer in network.layers
        if layer.name in done and any(node.layer.name not in done for node in layer.outbound_nodes)
    }


def _most_bytes(network: Any, num_photos: int) -> int:
    """Return the most bytes that outputs take on the disk at one time.

    These are the outputs that later layers read, both outputs of the layer at hand, and the float output of the next
    one.
    """
    first = network.layers[0].name
    elements = {layer.name: int(np.prod(layer.output_shape[1:])) for layer in network.layers if layer.name != first}
    done, most = {first}, 0
    for layers, after in itertools.pairwise([*_operators(network), []]):
        names = _live(network, done) | {layers[-1].name}
        ahead = elements[after[-1].name] if after else 0
        most = max(most, 2 * sum(elements.get(name, 0) for name in names) + ahead)
        done |= {layer.name for layer in layers}
    return 4 * num_photos * most


def _batch_size(layer: Any) -> int:
    """Return how many photos a layer reads at a time, 1 to 32, so that the patches of its input fit in memory."""
    kernel = int(np.prod(getattr(layer, "kernel_size", (1,))))
    shapes = layer.input_shape if isinstance(layer.input_shape, list) else [layer.input_shape]
    return int(max(1, min(32, _BATCH_BYTES // (4 * kernel * max(int(np.prod(shape[1:])) for shape in shapes)))))


def _run(
    layer: Any,
    relus: Sequence[Any],
    inputs: Sequence[Callable[[slice], Any]],
    num_photos: int,
    size: int,
    see: Callable[[Any], None] = lambda values: None,
) -> Iterator[Floats]:
    """Yield the output of a layer, followed by its ReLU if any, for all photos in batches.

    Each of ``inputs`` returns one input of the layer for a slice of photos. ``see`` is given the layer's output
    before the ReLU.
    """
    for start in range(0, num_photos, size):
        read = [values(slice(start, start + size)) for values in inputs]
        made = layer(read if len(read) > 1 else read[0], training=False)
        see(made)
        for relu in relus:
            made = relu(made)
        yield np.asarray(made)  # makes no copy, unlike numpy()


class _Wanted:
    """A layer's wanted output is the float network's, at enough positions of its maps for the sums.

    Every ``step``-th position in each direction is kept.
    """

    def __init__(self, layer: Any, num_photos: int) -> None:
        self.step = 1
        self._kept: list[Floats] | None = None
        if is_weighted(layer):
            shape = layer.get_weights()[0].shape
            num_inputs = kernel_of(layer).num_inputs(shape)
            enough = max(_ENOUGH_POSITIONS, _ENOUGH_FOR_A_WEIGHT * num_inputs)
            self.step = max(1, math.isqrt(num_photos * int(np.prod(layer.output_shape[1:-1])) // enough))
            self._kept = []

    def keep(self, values: Any) -> None:
        """Keep the output for the next batch of photos."""
        if self._kept is not None:
            part = values[:, :: self.step, :: self.step] if len(values.shape) == 4 else values
            self._kept.append(np.asarray(part))

    def of_all_photos(self) -> Floats:
        """Return the kept output for all photos, float32 (N, ...)."""
        assert self._kept
        return np.concatenate(self._kept)


def _seen(values: Floats) -> tuple[Histogram, Histogram]:
    """Count the values of the even photos and of the odd photos, in two histograms with the same bins.

    Raises ArtifactError where a value is infinite or undefined.
    """
    flat = values.reshape(len(values), -1)
    lows, highs = (np.array([pick(photo) for photo in flat], np.float32) for pick in (np.min, np.max))
    low, high = float(lows.min()), float(highs.max())
    _require_finite(low, high)
    high = max(high, low + 1e-6 * max(1.0, abs(low)))  # a constant output needs a width too

    def half(part: slice) -> Histogram:
        counts = sum((_histogram(photo, low, high) for photo in flat[part]), _NONE)
        return Histogram(low, high, counts, lows[part], highs[part])

    return half(slice(0, None, 2)), half(slice(1, None, 2))


def _require_finite(low: float, high: float) -> None:
    """Raise ArtifactError where a layer's smallest or largest value is infinite or undefined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ArtifactError(
            "the network's layers give infinite or undefined values, which have no codes. Train it again."
        )


def _histogram(values: Floats, low: float, high: float) -> npt.NDArray[np.int64]:
    """Count the values in each bin.

    numpy's own histogram takes twice as long, for edges that are exact to the last bit.
    """
    # float64, because float32 may not have 2048 numbers between a low and a high that are close.
    places = values.astype(np.float64)
    places -= low
    places *= BINS / (high - low)
    numbers = np.minimum(places.astype(np.int64), BINS - 1)
    return np.asarray(np.bincount(numbers, minlength=BINS), np.int64)


def _fitted(
    layer: Any,
    before: _Output,
    sample: _Wanted,
    size: int,
    keeps_zeros: bool,
    grid: Grid | None,
) -> tuple[list[Floats], bool]:
    """Fit a layer's kernel and bias so that it gives the wanted output for the inputs of the quantized network.

    Returns the kernel, rounded to ``grid``, and the bias, and whether the kernel was fitted and not only rounded.
    Without a grid, the kernel stays as it was trained. A depthwise convolution is as many small problems as it has
    channels.
    """
    wanted = sample.of_all_photos()
    _require_finite(float(wanted.min()), float(wanted.max()))
    kernel = layer.get_weights()[0].astype(np.float64)
    own = kernel_of(layer)
    groups = own.num_groups(layer)
    trained = own.by_group(kernel, groups)
    halves, shift = [Moments(*trained.shape), Moments(*trained.shape)], None
    for start in range(0, len(wanted), 2 * size):
        for number, half in enumerate(halves):  # every other photo
            part = slice(start + number, start + 2 * size, 2)
            if len(wanted[part]):
                targets = wanted[part].reshape(-1, groups, trained.shape[2])
                read = own.patches(layer, before.coded(part), groups, sample.step)
                shift = shift or (read.mean(axis=0), targets.mean(axis=0))
                half.shift = shift
                half.add(read, targets)
    free = trained != 0 if keeps_zeros else None
    weights = trained if grid is None or trained.shape[1] > MOST_INPUTS else best(halves, trained, free)
    inputs, outputs = (halves[0] + halves[1]).means()
    values = own.from_groups(weights, kernel.shape)
    if grid is None:
        coded = values.astype(np.float32)
    elif grid.is_fine or groups > 1:
        coded = grid.on_codes(layer, values)
    else:
        coded = on_coarse_codes(layer, values, grid, halves, None if free is None else free[0])
    bias = outputs - np.einsum("gk,gko->go", inputs, own.by_group(coded, groups).astype(np.float64))
    return [coded, bias.reshape(-1).astype(np.float32)], weights is not trained
