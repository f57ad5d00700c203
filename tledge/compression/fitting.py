"""Weights that are fitted to integer arithmetic, layer after layer, without labels and without training.

Rounding a layer's weights moves its output in a way that repeats on every photo. So each layer is given the inputs that
the quantized layers before it make, and the weights that bring its output nearest to what the float network has there:
least squares, held near the weights that were trained. What rounding then leaves in the mean of a channel goes into the
bias (Nagel et al., 2019, arXiv:1906.04721, section 4.2). Hubara et al., 2020 (arXiv:2006.10518), fit one layer after
another in the same sense, by gradient descent.
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

_BATCH_BYTES = 2**27  # of the patches that a convolution reads at a time
# Positions of all photos' maps together that are enough for the sums, and for each weight of an output.
_ENOUGH_POSITIONS, _ENOUGH_FOR_A_WEIGHT = 2**14, 2**7
_NONE = np.zeros(BINS, np.int64)
Floats = npt.NDArray[np.float32]


@dataclass
class _Output:
    """What a layer makes of all photos, float32 (N, ...): in the float network, and then in the quantized one.

    ``range``: of its codes; None where it is never coded, for the next operator is computed together with it. ``seen``: what
    that follows from, of every other photo and of the others. ``paths``: the files of both.
    """

    real: Floats
    paths: tuple[Path, ...] = ()
    quantized: Floats | None = None
    seen: tuple[Histogram, Histogram] | None = None
    range: Range | None = None

    def uncoded(self, part: slice) -> Any:
        """Some photos of the float network."""
        return np.asarray(self.real[part])

    def coded(self, part: slice) -> Any:
        """Some photos of the quantized network, as their codes give them back."""
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

    ``calibration_photos``: uint8 (N, S, S, 3). ``range_method``: one of ``METHODS``. With ``keeps_zeros`` a weight
    that is zero stays so. ``float_layers`` keep the weights that they have, and what only such layers read of
    them gets no codes; a ReLU and the layer that it alone reads go together. ``bounds_pairs``: as in
    a ``Grid``. ``grids``: of some layers, by name. The outputs of a few layers at a time lie on the cache's disk.
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
        # One thread: OpenBLAS' own wait for each other busily, and where other programs run, for ten times as long.
        threadpool_limits(1, user_api="blas"),
        progress.step("fitting int8 weights", len(network.layers) - 1) as advance,
    ):
        require_space(folder, _most_bytes(network, len(calibration_photos)))
        twice_float32 = 2 * 4 * calibration_photos.size
        require_memory(
            twice_float32, f"fitting to {len(calibration_photos)} photos", "Use fewer --calibration-samples."
        )
        outputs = {
            network.layers[0].name: _Output(folded.images(calibration_photos), quantized=codes.real(calibration_photos))
        }

        # The outputs that a layer reads are still there: it is a reader of them that is not done.
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
            if number + 1 < len(operators):  # while its weights are those that were trained
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
            elif not _is_among(last, float_layers):
                made.seen = _seen(made.quantized)
                made.range = METHODS[range_method](made.seen[0] + made.seen[1])
            if made.range is not None and made.seen is not None:
                ranges[last.name], seen[last.name] = made.range, made.seen
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
    """What a layer reads."""
    return [outputs[node.layer.name] for node in layer.inbound_nodes[0].parent_nodes]


def _operators(network: Any) -> Iterator[list[Any]]:
    """Layers after the input that runtimes compute in one operator: one, or one with weights and its ReLU."""
    for layer in network.layers[1:]:
        if is_fused(layer):
            yield [layer, layer.outbound_nodes[0].layer]
        elif host_of(layer) is None:
            yield [layer]


def _is_among(layer: Any, float_layers: Collection[str]) -> bool:
    """Whether it computes in float, and all that read it."""
    readers = [node.layer.name for node in layer.outbound_nodes]
    return bool(readers) and {layer.name, *readers} <= set(float_layers)


def _live(network: Any, done: Collection[str]) -> set[str]:
    """The layers in ``done`` whose outputs another one reads."""
    return {
        layer.name
        for layer in network.layers
        if layer.name in done and any(node.layer.name not in done for node in layer.outbound_nodes)
    }


def _most_bytes(network: Any, num_photos: int) -> int:
    """Of the outputs that lie on the disk at one time: those that are read later, and the two that are made.

    Of the later of these only what the float network makes.
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
    """Photos at a time: as many as patches of their input fit."""
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
    """The output of a layer, and its ReLU if any, of all photos, some at a time.

    Each of ``inputs`` gives what it reads of some photos; ``see`` is given what the layer alone makes of them.
    """
    for start in range(0, num_photos, size):
        read = [values(slice(start, start + size)) for values in inputs]
        made = layer(read if len(read) > 1 else read[0], training=False)
        see(made)
        for relu in relus:
            made = relu(made)
        yield np.asarray(made)  # without a copy, unlike numpy()


class _Wanted:
    """What a layer makes of all photos in the float network, at enough positions of their maps for the sums.

    ``step``: every how many, in each direction.
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
        """Of the next photos."""
        if self._kept is not None:
            part = values[:, :: self.step, :: self.step] if len(values.shape) == 4 else values
            self._kept.append(np.asarray(part))

    def of_all_photos(self) -> Floats:
        """float32 (N, ...)."""
        assert self._kept
        return np.concatenate(self._kept)


def _seen(values: Floats) -> tuple[Histogram, Histogram]:
    """Of every other photo, and of the others, in the same bins."""
    flat = values.reshape(len(values), -1)
    lows, highs = (np.array([pick(photo) for photo in flat], np.float32) for pick in (np.min, np.max))
    low, high = float(lows.min()), float(highs.max())
    _require_finite(low, high)
    high = max(high, low + 1e-6 * max(1.0, abs(low)))  # an output may never change

    def half(part: slice) -> Histogram:
        counts = sum((_histogram(photo, low, high) for photo in flat[part]), _NONE)
        return Histogram(low, high, counts, lows[part], highs[part])

    return half(slice(0, None, 2)), half(slice(1, None, 2))


def _require_finite(low: float, high: float) -> None:
    """Raise ArtifactError where a layer's smallest or largest value is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ArtifactError(
            "the network's layers give infinite or undefined values, which have no codes; train it again"
        )


def _histogram(values: Floats, low: float, high: float) -> npt.NDArray[np.int64]:
    """How many lie in each of the bins: numpy's takes twice as long for edges that are exact to the last bit."""
    # In 64 bits: 32 have no 2048 numbers between two that are near each other.
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
    """Kernel, on its grid of codes, and bias, for ``layer`` to give what is wanted from what is before it.

    And whether the kernel was fitted, not only rounded. A depthwise convolution is as many small problems as it has
    channels. ``grid``: its codes; without them the kernel stays as it was trained.
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
