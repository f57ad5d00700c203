"""Which weights become zero: those that add least to what their layer gives.

TFMOT's magnitude pruning asks for the size of a weight alone. Behind a ReLU some channels are many times larger than others,
and a small weight of a large one adds more than a large weight of a small one, so the size of its input counts as well (Sun
et al., 2023, arXiv:2306.11695). What this gained is in docs/quantization.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.folding import Folded, copied, summing
from tledge.errors import InputError
from tledge.preprocessing import Pixels
from tledge.progress import Progress

_BLOCK = re.compile(r"([0-9]+):([0-9]+)")
_MOST_OF_A_BLOCK = 16
_BATCH = 8  # photos whose inputs of all layers are in memory
_LEFT = 0.1  # of the weights that stay, those of the smallest layers: each of theirs counts, and they save nothing
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sparsity:
    """Which share of the weights becomes zero; ``block`` (n, m): n of every m in a row."""

    share: float
    block: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Sparsity:
        """0.5, or 2:4. Raises InputError for a share that is not between 0 and 1."""
        found = _BLOCK.fullmatch(text)
        if found:
            zeros, size = int(found[1]), int(found[2])
            if not 0 < zeros < size <= _MOST_OF_A_BLOCK:
                raise InputError(
                    f"--sparsity {text}: of every M weights N become zero, as in 2:4, with N below M, M at most 16"
                )
            return cls(zeros / size, (zeros, size))
        try:
            share = float(text)
        except ValueError:
            share = float("nan")
        if not 0 < share < 1:
            raise InputError(
                f"--sparsity {text}: give the share of weights that become zero, above 0 and below 1, or 2:4"
            )
        return cls(share)

    def __str__(self) -> str:
        return f"{self.block[0]}:{self.block[1]}" if self.block else f"{self.share:g}"


def prune(folded: Folded, sparsity: Sparsity, pixels: Pixels, progress: Progress) -> tuple[Folded, dict[str, Any]]:
    """A copy of ``folded`` with so many zeros in its convolutions and dense layers, and notes for the record.

    ``pixels``: representative photos, uint8 (N, S, S, 3). Of each output's weights those become zero whose size times the
    root mean square of their input is least; of every m in a row the least n, where the number of inputs is a multiple of m.
    The smallest layers stay whole and the others lose as much more. Depthwise kernels stay whole: they are few. Raises
    InputError where no layer loses any.
    """
    network = copied(folded.network)
    chosen, share = _chosen(network, sparsity)
    powers = _input_powers(folded, chosen, pixels, progress)
    total = zeros = num_layers = 0
    for layer in summing(network):
        kernel, bias = layer.get_weights()
        if layer.name in chosen:
            kernel = np.where(_is_kept(kernel, powers[layer.name], share, sparsity.block), kernel, np.float32(0))
            layer.set_weights([kernel, bias])
            num_layers += not kernel.all()
        total, zeros = total + kernel.size, zeros + int(np.sum(kernel == 0))
    if not num_layers:
        why = (
            "no layer that may lose some has inputs in whole blocks of so many"
            if sparsity.block
            else "it is too little"
        )
        raise InputError(f"--sparsity {sparsity} makes no weight of this network zero: {why}")
    notes = {"sparsity": str(sparsity), "zeros": round(zeros / total, 4), "pruned_layers": num_layers}
    return replace(folded, network=network), notes


def _chosen(network: Any, sparsity: Sparsity) -> tuple[list[str], float]:
    """The layers that lose weights, and which share of theirs."""
    sizes = {layer.name: layer.get_weights()[0].size for layer in summing(network)}
    total, left, whole = sum(sizes.values()), 0, set()
    for name in sorted(sizes, key=lambda name: sizes[name]):
        if left + sizes[name] > _LEFT * (1 - sparsity.share) * total:
            break
        whole.add(name)
        left += sizes[name]
    return [name for name in sizes if name not in whole], sparsity.share * total / (total - left)


def _input_powers(folded: Folded, names: list[str], pixels: Pixels, progress: Progress) -> dict[str, Doubles]:
    """The mean square of each channel of what these layers read in the float network, float64 (channels,)."""
    import tensorflow as tf
    import tf_keras

    inputs = [folded.network.get_layer(name).inbound_nodes[0].parent_nodes[0].layer.output for name in names]
    read = tf_keras.Model(folded.network.input, inputs)
    sums = [np.zeros(values.shape[-1]) for values in inputs]
    with progress.step("measuring what layers read", len(pixels)) as advance:
        for start in range(0, len(pixels), _BATCH):
            photos = folded.images(pixels[start : start + _BATCH])
            found = read(photos, training=False)
            for place, values in enumerate(found if len(names) > 1 else [found]):
                axes = list(range(len(values.shape) - 1))
                sums[place] += len(photos) * tf.reduce_mean(tf.square(values), axis=axes).numpy()
            advance(len(photos))
    return {name: total / len(pixels) for name, total in zip(names, sums, strict=True)}


def _is_kept(
    kernel: npt.NDArray[np.float32], powers: Doubles, share: float, block: tuple[int, int] | None
) -> npt.NDArray[np.bool_]:
    """Of each weight (..., inputs, outputs), whether it stays."""
    gains = (np.square(kernel, dtype=np.float64) * powers[:, None]).reshape(-1, kernel.shape[-1])
    num_inputs = len(gains)
    if block is None:
        count, rows = round(share * num_inputs), gains.T[:, None]
    elif num_inputs % block[1]:
        return np.ones(kernel.shape, np.bool_)
    else:
        count, rows = block[0], gains.T.reshape(len(gains.T), -1, block[1])
    is_kept = np.ones(rows.shape, np.bool_)
    np.put_along_axis(is_kept, np.argsort(rows, axis=-1, kind="stable")[..., :count], False, axis=-1)
    return is_kept.reshape(-1, num_inputs).T.reshape(kernel.shape)
