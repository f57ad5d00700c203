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

from tledge.compression.folding import Folded, copied
from tledge.compression.layer_kinds import summing
from tledge.errors import InputError
from tledge.preprocessing import Pixels
from tledge.progress import Progress

_BLOCK = re.compile(r"([0-9]{1,3}):([0-9]{1,3})")
_MOST_OF_A_BLOCK, _MOST_NAMED = 16, 3
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
    root mean square of their input is least; of every m in a row the least n, where the number of inputs is a multiple of m,
    and a warning says where it is not. The smallest layers stay whole, and of a share the others lose as much more, but one
    weight of each output. Depthwise kernels stay whole: they are few. Raises InputError where no layer loses any.
    """
    require_zeros(folded, sparsity)
    network = copied(folded.network)
    chosen, share = _chosen(network, sparsity)
    powers = _input_powers(folded, chosen, pixels, progress)
    total = zeros = num_layers = 0
    short = []
    for layer in summing(network):
        kernel, bias = layer.get_weights()
        if layer.name in chosen:
            block, count, asked = _zeros_of_block(kernel, share, sparsity)
            kernel = np.where(_is_kept(kernel, powers[layer.name], block, count), kernel, np.float32(0))
            layer.set_weights([kernel, bias])
            if count < asked:
                short.append(layer.name)
            num_layers += not kernel.all()
        total, zeros = total + kernel.size, zeros + int(np.sum(kernel == 0))
    if short:
        why = (
            f"these layers stay whole, for their inputs are no multiple of {sparsity.block[1]}"
            if sparsity.block
            else "these layers keep one weight of each output, so that it gives something"
        )
        progress.warn(f"--sparsity {sparsity}: {zeros / total:.1%} of the weights become zero; {why}: {_named(short)}")
    notes = {"sparsity": str(sparsity), "zeros": round(zeros / total, 4), "pruned_layers": num_layers}
    return replace(folded, network=network), notes


def require_zeros(folded: Folded, sparsity: Sparsity) -> None:
    """Raise InputError where no weight would become zero."""
    chosen, share = _chosen(folded.network, sparsity)
    kernels = (folded.network.get_layer(name).get_weights()[0] for name in chosen)
    if not any(_zeros_of_block(kernel, share, sparsity)[1] for kernel in kernels):
        why = (
            "no layer that may lose some has inputs in whole blocks of so many"
            if sparsity.block
            else "it is too little, or no output has more than one weight"
        )
        raise InputError(f"--sparsity {sparsity} makes no weight of this network zero: {why}")


def _named(layers: list[str]) -> str:
    more = f" and {len(layers) - _MOST_NAMED} more" if len(layers) > _MOST_NAMED else ""
    return f"{', '.join(layers[:_MOST_NAMED])}{more}"


def _zeros_of_block(kernel: npt.NDArray[Any], share: float, sparsity: Sparsity) -> tuple[int, int, int]:
    """How many weights in a row of an output make a block, how many of them become zero, and how many were asked for."""
    num_inputs = kernel[..., 0].size
    if sparsity.block is None:
        asked = round(share * num_inputs)
        return num_inputs, min(asked, num_inputs - 1), asked
    asked, size = sparsity.block
    return (num_inputs, 0, asked) if num_inputs % size else (size, asked, asked)


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


def _is_kept(kernel: npt.NDArray[np.float32], powers: Doubles, block: int, count: int) -> npt.NDArray[np.bool_]:
    """Of each weight (..., inputs, outputs), whether it stays: of every ``block`` in a row all but the ``count`` least."""
    gains = (np.square(kernel, dtype=np.float64) * powers[:, None]).reshape(-1, kernel.shape[-1])
    rows = gains.T.reshape(len(gains.T), -1, block)
    is_kept = np.ones(rows.shape, np.bool_)
    np.put_along_axis(is_kept, np.argsort(rows, axis=-1, kind="stable")[..., :count], False, axis=-1)
    return is_kept.reshape(len(gains.T), -1).T.reshape(kernel.shape)
