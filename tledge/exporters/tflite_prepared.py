"""This module converts a prepared network to TensorFlow Lite, with the weights and the ranges of that network.

TensorFlow's converter quantizes in two steps. It writes the smallest and the largest value of every tensor into a float
model, then turns that model into integers. Between the two steps, the ranges of the network replace the converter's. The
first step alone is ``_experimental_calibrate_only``, and the second is ``mlir_quantize``. TensorFlow's own
QuantizationDebugger uses both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import FEW_PHOTOS, PreparedNetwork, named_by_value
from tledge.exporters.mixed import float_operators


class TfliteDraft:
    """A ``TfliteDraft`` is a float model with a range for every tensor. The quantizer turns it into integers.

    ``float_operators``: how many operators stay float, by the operator's name. They follow from ``prepared.float_layers``.
    """

    def __init__(self, prepared: PreparedNetwork, input_size: int, calibration_photos: npt.NDArray[np.uint8]) -> None:
        """Convert a network to a float model, and put ranges on its tensors.

        ``calibration_photos``: the representative data set, uint8 (N, S, S, 3). It sets the ranges of tensors that are no
        layer's output. Raises RuntimeError where a layer's output is not found in the converted model.
        """
        found = _with_ranges(prepared, input_size, calibration_photos[:FEW_PHOTOS], needs_all=True)
        if found is None:
            found = _with_ranges(prepared, input_size, calibration_photos, needs_all=False)
        assert found is not None
        self._model, names = found
        self._float_tensors, self.float_operators = _float_operators(self._model, names, prepared.float_layers)

    def quantized(self) -> bytes:
        """Return the bytes of the quantized model, which maps uint8 pixels (1, S, S, 3) to uint8 probabilities."""
        from tensorflow.lite.python.convert import mlir_quantize

        from tledge.tensorflow_setup import tensorflow

        tf = tensorflow()
        nodes = self._float_tensors or None
        made = mlir_quantize(self._model, input_data_type=tf.uint8, output_data_type=tf.uint8, denylisted_nodes=nodes)
        return bytes(made)


def convert_prepared(prepared: PreparedNetwork, input_size: int, calibration_photos: npt.NDArray[np.uint8]) -> bytes:
    """Quantize a prepared network at once, with the arguments of :class:`TfliteDraft`. Returns the bytes of the model."""
    return TfliteDraft(prepared, input_size, calibration_photos).quantized()


def _float_operators(
    model: bytes, names: dict[int, list[str]], float_layers: tuple[str, ...]
) -> tuple[list[str], dict[str, int]]:
    """Find the operators of a model that stay float.

    ``names``: the names of the layers whose outputs a tensor holds, by the tensor's number. Returns the names of the tensors
    that the operators write, by which the quantizer knows them, and how many operators of each name there are.
    """
    from ai_edge_litert.schema_py_generated import BuiltinOperator
    from tensorflow.lite.tools import flatbuffer_utils

    if not float_layers:
        return [], {}
    read = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    graph = read.subgraphs[0]
    edges = [
        ([int(number) for number in one.inputs], [int(number) for number in one.outputs]) for one in graph.operators
    ]
    chosen = [graph.operators[place] for place in float_operators(edges, names, float_layers)]
    operator_names = {number: name for name, number in vars(BuiltinOperator).items()}
    counts = Counter(operator_names[read.operatorCodes[one.opcodeIndex].builtinCode] for one in chosen)
    return [graph.tensors[one.outputs[0]].name.decode() for one in chosen], dict(sorted(counts.items()))


def _with_ranges(
    prepared: PreparedNetwork, input_size: int, calibration_photos: npt.NDArray[np.uint8], *, needs_all: bool
) -> tuple[bytes, dict[int, list[str]]] | None:
    """Return the float model with a range for every tensor, and the layers whose outputs a tensor holds, by its number.

    The result is None where ``needs_all`` is set and some ranges come from ``calibration_photos`` alone.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    calibrated = _calibrated(prepared, input_size, calibration_photos)
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(calibrated))
    graph = model.subgraphs[0]
    (taken,), (given,) = graph.inputs, graph.outputs
    ranged = [number for number, tensor in enumerate(graph.tensors) if _has_range(tensor) and number != given]
    first = prepared.input_codes.real(calibration_photos[:1])
    names = named_by_value(_values(calibrated, ranged, first), prepared.outputs(first))
    prepared.require_all(names.values())
    for number in ranged:
        known = prepared.input_codes.range if number == taken else prepared.range_of(names.get(number, []))
        if known is not None:
            quantization = graph.tensors[number].quantization
            quantization.min, quantization.max = np.array(known[:1], np.float32), np.array(known[1:], np.float32)
        elif needs_all and not set(names.get(number, [])) & set(prepared.float_layers):
            return None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), names


def _has_range(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.min is not None


def _calibrated(prepared: PreparedNetwork, input_size: int, calibration_photos: npt.NDArray[np.uint8]) -> bytes:
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    shape = [1, input_size, input_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
    def probabilities(pixels: Any) -> Any:
        return tf.identity(prepared.probabilities(pixels), name="probabilities")

    def representative_data() -> Iterator[list[Any]]:
        for photo in calibration_photos:
            yield [prepared.input_codes.real(photo[None])]

    converter = converter_of(probabilities.get_concrete_function())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_data
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_calibrate_only = True
    return bytes(converter.convert())


def converter_of(function: Any) -> Any:
    """Return TensorFlow's converter of a concrete function that reads a network's variables.

    The converter saves the object that it gets beside the function. It gets the variables alone here. With the network it
    would trace every layer again, which takes longer than the conversion.
    """
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    holder = tf.Module()
    places = {id(handle): place for place, handle in enumerate(function.captured_inputs)}
    holder.held = sorted(function.variables, key=lambda variable: places[id(variable.handle)])  # they come as a set
    return tf.lite.TFLiteConverter.from_concrete_functions([function], holder)


def _values(model: bytes, tensors: list[int], pixels: npt.NDArray[np.float32]) -> dict[int, npt.NDArray[np.float32]]:
    """Run a float model on one photo, and return the values of ``tensors`` by their numbers."""
    import warnings

    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that keeping all tensors takes memory
        interpreter = Interpreter(
            model_content=model,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    return {number: interpreter.get_tensor(number) for number in tensors}
