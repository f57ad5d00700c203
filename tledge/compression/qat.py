"""Quantization-aware training, by tensorflow-model-optimization (Jacob et al., 2018, arXiv:1712.05877).

It starts where the fit to the photos ends: with weights that are codes, and with ranges that fit the activations. TFMOT's own
scheme starts activations at [-6, 6] and rounds depthwise kernels with one scale for all channels, neither of which
any converter does; so the scheme here has the converters' arithmetic, and TFMOT applies it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tledge.compression import Prepared
from tledge.compression.distillation import Lessons, learn, notes
from tledge.compression.fitting import is_weighted, on_codes
from tledge.compression.folding import Folded, copied
from tledge.compression.ranges import Range
from tledge.compression.tfmot_scheme import CLASSES, MASK, LayerConfig, Scheme
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow

_PREFIX = "quant_"  # of the name that TFMOT gives a layer


def train(
    start: Prepared, teacher: Folded, lessons: Lessons, progress: Progress, *, keeps_zeros: bool = False
) -> Prepared:
    """``start`` with weights that were trained on, through the rounding of weights and activations.

    With ``keeps_zeros`` a weight that is zero stays so. Raises InputError where TFMOT can't wrap a layer, which it names.
    """
    network = copied(start.network)
    student = quantized(network, start.ranges, keeps_zeros=keeps_zeros)
    learned = learn(student, start.input_codes, teacher, lessons, "quantization-aware training", progress)
    for layer in network.layers:
        if is_weighted(layer):
            kernel, bias = trained_weights(student, layer)
            layer.set_weights([on_codes(layer, kernel), bias])
    return dataclasses.replace(start, network=network, notes={**start.notes, **notes(lessons, learned)})


def quantized(network: Any, ranges: Mapping[str, Range], *, keeps_zeros: bool = False) -> Any:
    """TFMOT's copy of ``network``, whose kernels and whose outputs in ``ranges`` are rounded to 8 bits as it computes."""
    tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras import quantize, quantize_config

    quantize_config.QuantizeConfig.register(LayerConfig)
    try:
        with quantize.quantize_scope(CLASSES):
            made = quantize.quantize_apply(quantize.quantize_annotate_model(network), Scheme(ranges, keeps_zeros))
    except ValueError as error:
        raise InputError(f"quantization-aware training is not possible: {error}") from error
    for layer in network.layers if keeps_zeros else ():
        if is_weighted(layer):
            (mask,) = (weight for weight in _of(made, layer).weights if weight.name.endswith(f"_{MASK}:0"))
            mask.assign(layer.get_weights()[0] != 0)
    return made


def trained_weights(student: Any, layer: Any) -> tuple[Any, Any]:
    """Kernel and bias, float32, of what ``student`` has in place of a layer of the network that it was made from."""
    found = {weight.name.rpartition("/")[2].partition(":")[0]: weight for weight in _of(student, layer).weights}
    kernel, bias = found.get("depthwise_kernel", found.get("kernel")), found["bias"]
    mask = next((weight for name, weight in found.items() if name.endswith(f"_{MASK}")), 1.0)
    return np.asarray(kernel) * np.asarray(mask), np.asarray(bias)


def _of(student: Any, layer: Any) -> Any:
    return student.get_layer(_PREFIX + layer.name)
