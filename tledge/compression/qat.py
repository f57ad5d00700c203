"""This module runs quantization-aware training with tensorflow-model-optimization (TFMOT).

The method is that of Jacob et al., 2018, arXiv:1712.05877. The training starts from the fitted network, which already
has rounded weights and ranges measured on photos. TFMOT wraps the layers, but its default quantization scheme is
replaced. The default scheme starts all activation ranges at [-6, 6] and gives a depthwise kernel one scale for all its
channels. The scheme used here starts at the measured ranges and has one scale for each channel, as the converters do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from tledge.compression.codes import NO_GRIDS, Grid
from tledge.compression.distillation import Lessons, learn, notes
from tledge.compression.folding import copied
from tledge.compression.layer_roles import is_weighted, kernel_of
from tledge.compression.notes import LearningNotes
from tledge.compression.prepared_network import PreparedNetwork
from tledge.compression.ranges import Range
from tledge.compression.tfmot_scheme import CLASSES, EDGES, MASK, VALUES, LayerConfig, Scheme
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow

_PREFIX = "quant_"  # TFMOT puts it before a layer's name


def train_quantized(
    start: PreparedNetwork,
    lessons: Lessons,
    progress: Progress,
    *,
    keeps_zeros: bool = False,
    grids: Mapping[str, Grid] = NO_GRIDS,
) -> tuple[PreparedNetwork, LearningNotes]:
    """Train the weights of ``start`` through the rounding of weights and activations.

    Returns the trained copy and notes on the training. ``start`` itself does not change. With ``keeps_zeros`` a
    weight that is zero stays zero. ``grids`` has the grids of some layers, by name. Raises InputError where TFMOT
    can't wrap a layer, and names the layer.
    """
    network = copied(start.network)
    pairs = start.bounds_pairs
    student = quantized(network, start.ranges, bounds_pairs=pairs, keeps_zeros=keeps_zeros, grids=grids)
    learned = learn(student, start.input_codes, lessons, "quantization-aware training", progress)
    for layer in network.layers:
        if is_weighted(layer):
            kernel, bias = _weights(student, layer)
            layer.set_weights([grids.get(layer.name, Grid(bounds_pairs=pairs)).on_codes(layer, kernel), bias])
    return dataclasses.replace(start, network=network), notes(lessons, learned)


def quantized(
    network: Any,
    ranges: Mapping[str, Range],
    *,
    bounds_pairs: bool = False,
    keeps_zeros: bool = False,
    grids: Mapping[str, Grid] = NO_GRIDS,
) -> Any:
    """Return TFMOT's copy of ``network``, which rounds kernels and the outputs in ``ranges`` to 8 bits as it computes.

    Raises InputError where TFMOT can't wrap a layer.
    """
    tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras import quantize, quantize_config

    quantize_config.QuantizeConfig.register(LayerConfig)
    scheme = Scheme(ranges, bounds_pairs, keeps_zeros, grids)
    try:
        with quantize.quantize_scope(CLASSES):
            made = quantize.quantize_apply(quantize.quantize_annotate_model(network), scheme)
    except ValueError as error:
        raise InputError(f"quantization-aware training is not possible: {error}") from error
    for layer in network.layers:
        if is_weighted(layer):
            own = _variables(made, layer)
            if keeps_zeros and kernel_of(layer).sums_channels:  # zeros in other layers come from rounding alone
                own[MASK].assign(layer.get_weights()[0] != 0)
            book = grids.get(layer.name, Grid()).book
            if book is not None:
                own[VALUES].assign(book.values)
                own[EDGES].assign(book.edges)
    return made


def _weights(student: Any, layer: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the kernel and bias, float32, that ``student`` has in place of ``layer``."""
    own = _variables(student, layer)
    kernel = own["kernel"].numpy()
    return kernel * own[MASK].numpy() if MASK in own else kernel, own["bias"].numpy()


def _variables(student: Any, layer: Any) -> dict[str, Any]:
    """Return the ``kernel``, ``bias`` and quantizer variables that ``student`` has in place of ``layer``."""
    named = {
        weight.name.rpartition("/")[2].partition(":")[0]: weight
        for weight in student.get_layer(_PREFIX + layer.name).weights
    }
    kernel = kernel_of(layer).name
    own = {part: named[f"{kernel}_{part}"] for part in (MASK, VALUES, EDGES) if f"{kernel}_{part}" in named}
    return {"kernel": named[kernel], "bias": named["bias"], **own}
