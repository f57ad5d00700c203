"""This module chooses which weights become zero: the weights that add least to their layer's output.

TFMOT's magnitude pruning looks at the size of a weight alone. Behind a ReLU some channels are many times larger than
others. There a small weight of a large channel adds more than a large weight of a small one, so the size of its input
counts as well (Sun et al., 2023, arXiv:2306.11695). What this gained is in docs/experiments.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.folding import Folded, copied
from tledge.compression.layer_roles import summing
from tledge.compression.notes import ZerosNotes
from tledge.errors import InputError
from tledge.preprocessing import Pixels
from tledge.progress import Progress

_MOST_NAMED = 3
_BATCH = 8  # photos at a time: the inputs of all layers are in memory
_LEFT = 0.1  # the smallest layers stay whole up to this part of all weights that stay: they save nothing
Doubles = npt.NDArray[np.float64]


def require_share(share: float) -> None:
    """Raise InputError for a share of zero weights that is not between 0 and 1."""
    if not 0 < share < 1:
        raise InputError(f"--sparsity {share:g}: give the share of weights that become zero, above 0 and below 1")


def prune(folded: Folded, share: float, calibration_photos: Pixels, progress: Progress) -> tuple[Folded, ZerosNotes]:
    """Copy ``folded`` with a ``share`` of zeros in its convolutions and dense layers; return notes for the record too.

    ``share`` is the share of all weights of these layers. ``calibration_photos`` are uint8 (N, S, S, 3). Among an
    output's weights, the ones with the smallest product of their size and the root mean square of their input become
    zero. The smallest layers stay whole, and the others lose more instead. Each output keeps at least one weight.
    Depthwise kernels stay whole, because they are few. Raises InputError where no layer loses any weight.
    """
    require_zeros(folded, share)
    network = copied(folded.network)
    chosen, own_share = _chosen(network, share)
    powers = _input_powers(folded, chosen, calibration_photos, progress)
    total = zeros = num_layers = 0
    short = []
    for layer in summing(network):
        kernel, bias = layer.get_weights()
        if layer.name in chosen:
            count, asked = _num_zeros(kernel, own_share)
            kernel = np.where(_is_kept(kernel, powers[layer.name], count), kernel, np.float32(0))
            layer.set_weights([kernel, bias])
            if count < asked:
                short.append(layer.name)
            num_layers += not kernel.all()
        total, zeros = total + kernel.size, zeros + int(np.sum(kernel == 0))
    if short:
        progress.warn(
            f"--sparsity {share:g}: {zeros / total:.1%} of the weights become zero. These layers keep one weight of each "
            f"output, so that it gives something: {_named(short)}"
        )
    notes = ZerosNotes(sparsity=share, zeros=round(zeros / total, 4), pruned_layers=num_layers)
    return replace(folded, network=network), notes


def require_zeros(folded: Folded, share: float) -> None:
    """Raise InputError where no weight would become zero."""
    chosen, own_share = _chosen(folded.network, share)
    kernels = (folded.network.get_layer(name).get_weights()[0] for name in chosen)
    if not any(_num_zeros(kernel, own_share)[0] for kernel in kernels):
        raise InputError(
            f"--sparsity {share:g} makes no weight of this network zero: it is too little, or no output has more than one "
            "weight"
        )


def _named(layers: list[str]) -> str:
    more = f" and {len(layers) - _MOST_NAMED} more" if len(layers) > _MOST_NAMED else ""
    return f"{', '.join(layers[:_MOST_NAMED])}{more}"


def _num_zeros(kernel: npt.NDArray[Any], share: float) -> tuple[int, int]:
    """Return how many weights of each output become zero, and how many were asked for.

    The two differ where an output would lose all its weights, because each output keeps one.
    """
    num_inputs = kernel[..., 0].size
    asked = round(share * num_inputs)
    return min(asked, num_inputs - 1), asked


def _chosen(network: Any, share: float) -> tuple[list[str], float]:
    """Choose the layers that lose weights, and compute which share of theirs they lose."""
    sizes = {layer.name: layer.get_weights()[0].size for layer in summing(network)}
    total, left, whole = sum(sizes.values()), 0, set()
    for name in sorted(sizes, key=lambda name: sizes[name]):
        if left + sizes[name] > _LEFT * (1 - share) * total:
            break
        whole.add(name)
        left += sizes[name]
    return [name for name in sizes if name not in whole], share * total / (total - left)


def _input_powers(
    folded: Folded, names: list[str], calibration_photos: Pixels, progress: Progress
) -> dict[str, Doubles]:
    """Measure the mean square of each input channel of these layers in the float network, float64 (channels,)."""
    import tensorflow as tf
    import tf_keras

    inputs = [folded.network.get_layer(name).inbound_nodes[0].parent_nodes[0].layer.output for name in names]
    read = tf_keras.Model(folded.network.input, inputs)
    sums = [np.zeros(values.shape[-1]) for values in inputs]
    with progress.step("measuring what layers read", len(calibration_photos)) as advance:
        for start in range(0, len(calibration_photos), _BATCH):
            photos = folded.images(calibration_photos[start : start + _BATCH])
            found = read(photos, training=False)
            for place, values in enumerate(found if len(names) > 1 else [found]):
                axes = list(range(len(values.shape) - 1))
                sums[place] += len(photos) * tf.reduce_mean(tf.square(values), axis=axes).numpy()
            advance(len(photos))
    return {name: total / len(calibration_photos) for name, total in zip(names, sums, strict=True)}


def _is_kept(kernel: npt.NDArray[np.float32], powers: Doubles, count: int) -> npt.NDArray[np.bool_]:
    """Return whether each weight (..., inputs, outputs) stays; an output loses the ``count`` that add least."""
    gains = (np.square(kernel, dtype=np.float64) * powers[:, None]).reshape(-1, kernel.shape[-1])
    is_kept = np.ones(gains.shape, np.bool_)
    np.put_along_axis(is_kept, np.argsort(gains, axis=0, kind="stable")[:count], False, axis=0)
    return is_kept.reshape(kernel.shape)
