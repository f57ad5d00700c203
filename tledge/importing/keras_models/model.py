"""A ``KerasModel`` is a checked model of Keras 3 or tf_keras, of which the part up to its logits is run and described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tledge.backbones.described import IMAGES, DescribedNetwork
from tledge.importing.foreign import Ending, Floats, LayersUnknown, Refused, Taken
from tledge.importing.keras_models.calls import IDLE, Call, activation_of, ending_of, graph_of, kind_of, run_layer, walk
from tledge.importing.keras_models.layers import describe
from tledge.importing.keras_models.writer import Value, Writer, images
from tledge.importing.opaque import save_logits
from tledge.normalization import LUMA
from tledge.tensorflow_setup import tensorflow

_ENDINGS: dict[str, Ending] = {
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "Softmax": "softmax",
    "ops.Softmax": "softmax",
    "ops.Sigmoid": "sigmoid",
    "tf.nn.softmax": "softmax",
    "tf.compat.v1.nn.softmax": "softmax",
    "tf.math.sigmoid": "sigmoid",
    "tf.nn.sigmoid": "sigmoid",
}
# One unit x for two classes: the logits -x/2 and x/2 give the same probabilities as [0, x]. No channel of the weights is
# all zero, which would have no int8 scale.
_TWO = (-0.5, 0.5)
_NOISE_SIZE = 224  # the side of the photos on which a model of open input size is tried
_NOISE_SEED = 0
# Two ways through the same float32 layers differ by rounding alone. A layer in training mode changes far more.
_TOLERANCE = 1e-4


class KerasModel:
    """A ``KerasModel`` implements `tledge.importing.foreign.ForeignModel`."""

    def __init__(self, model: Any, framework: str, what: str) -> None:
        """Examine a loaded model. Raises Refused, which names ``what``, where it is no classifier of one image."""
        self._what, self._model = what, model
        try:
            network = graph_of(model)
        except Refused as error:
            raise Refused(f"{what}: {error}") from error
        self._dtype, self._size, self._channels = self._input(network)
        units = self._units(network)
        self._end = ending_of(model)
        self._ending: Ending = self._find_ending()
        self._is_one_unit = units == 1
        if self._is_one_unit and self._ending == "softmax":
            raise Refused(
                f"{what} has one output unit behind a softmax, which always answers 1. Train it with a sigmoid instead"
            )
        self._infer = tensorflow().function(self._logits, reduce_retracing=True)
        counts = self._require_same()
        self._taken = Taken(
            input_size=self._size,
            channels=self._channels,
            num_outputs=2 if self._is_one_unit else units,
            ending=self._ending,
            framework=framework,
            notes=tuple(self._notes(counts, units)),
        )

    def taken(self) -> Taken:
        """Say what the model takes and gives."""
        return self._taken

    def answers(self, images: Floats) -> Floats:
        """Compute logits by the model's own layers."""
        logits = np.asarray(self._infer(self._cast(images)), np.float32)
        return logits * np.asarray(_TWO, np.float32) if self._is_one_unit else logits

    def network(self, input_size: int) -> DescribedNetwork:
        """Describe the layers up to the logits."""
        writer = Writer()
        value = images(input_size)
        if self._channels == 1:
            kernel = np.asarray(LUMA).reshape(1, 1, 3, 1)
            config = {"filters": 1, "kernel_size": [1, 1], "use_bias": False}
            value = writer.add("grey", "Conv2D", config, value, [kernel], (*value.shape[:3], 1))
        (output,) = walk(self._model, [value], lambda call: self._described(writer, call))
        if self._is_one_unit:
            config = {"units": 2, "use_bias": True}
            output = writer.add("two_classes", "Dense", config, output, [np.asarray([_TWO]), np.zeros(2)], (None, 2))
        if not isinstance(output, Value) or output.name == IMAGES:
            raise LayersUnknown("the model has no layers")
        return writer.network(input_size, output)

    def saved_model(self, folder: Path) -> Path:
        """Write a SavedModel that gives the logits."""
        # A variable of Keras 3 holds TensorFlow's.
        variables = [one if isinstance(one, tensorflow().Variable) else one.value for one in self._model.variables]
        factors = np.asarray(_TWO, np.float32)

        def logits(images: Any) -> Any:
            given = self._logits(self._cast(images))
            return given * factors if self._is_one_unit else given

        shape = (None, self._size, self._size, self._channels)
        return save_logits(logits, variables, shape, folder)

    def _described(self, writer: Writer, call: Call) -> Any:
        if call.node is not self._end or self._ending == "logits":
            return describe(writer, call)
        return self._without_ending(call, lambda given: describe(writer, given))

    def _logits(self, given: Any) -> Any:
        (output,) = walk(self._model, [given], self._run)
        return output

    def _run(self, call: Call) -> Any:
        if call.node is not self._end or self._ending == "logits":
            return run_layer(call)
        return self._without_ending(call, run_layer)

    def _without_ending(self, call: Call, go: Callable[[Call], Any]) -> Any:
        """Do ``go`` on a call whose last function is left out."""
        if call.kind in _ENDINGS or call.kind == "Activation":
            return call.args[0] if call.args else next(iter(call.kwargs.values()))
        kept, call.layer.activation = call.layer.activation, None
        try:
            return go(call)
        finally:
            call.layer.activation = kept

    def _input(self, network: Any) -> tuple[Any, int | None, int]:
        if len(network.inputs) != 1:
            names = ", ".join(f"{_name(one)} {_shape(one)}" for one in network.inputs)
            raise Refused(
                f"{self._what} takes {len(network.inputs)} inputs ({names}). tledge takes models of one photo. Save a model of "
                "that input alone"
            )
        (given,) = network.inputs
        shape, dtype = tuple(given.shape), tensorflow().as_dtype(given.dtype)
        told = f"{self._what} takes {_name(given)} of shape {_shape(given)}"
        if dtype == tensorflow().string or any(kind_of(layer) == "Embedding" for layer in self._model.layers):
            raise Refused(f"{told}: it is a text model. tledge takes image classifiers")
        if len(shape) != 4:
            raise Refused(
                f"{told}, which is no photo. tledge takes image classifiers of input (N, S, S, 3) or (N, S, S, 1)"
            )
        height, width, channels = shape[1:]
        if channels not in (1, 3):
            raise Refused(
                f"{told}. tledge takes photos of 3 channels, or 1, which come last. Save a model that takes (N, S, S, 3)"
            )
        if height != width:
            raise Refused(
                f"{told}, which is not square. tledge takes square photos. Save the model with an input of (N, S, S, {channels})"
            )
        return dtype, height, int(channels)

    def _units(self, network: Any) -> int:
        if len(network.outputs) != 1:
            shapes = ", ".join(_shape(one) for one in network.outputs)
            raise Refused(
                f"{self._what} gives {len(network.outputs)} outputs ({shapes}), as detectors do. tledge takes image classifiers of "
                "one output. Save a model of that output alone"
            )
        shape = tuple(network.outputs[0].shape)
        if len(shape) != 2 or shape[1] is None:
            raise Refused(
                f"{self._what} gives {_shape(network.outputs[0])} for photos, as detectors and segmentation models do. "
                "tledge takes image classifiers, which give (N, classes)"
            )
        return int(shape[1])

    def _find_ending(self) -> Ending:
        if self._end is None:
            raise Refused(f"{self._what} has no layers")
        layer = self._end.operation if hasattr(self._end, "operation") else self._end.layer
        kind = kind_of(layer)
        if kind in _ENDINGS:
            axis = getattr(layer, "axis", -1)
            return _ENDINGS[kind] if axis in (-1, 1, None) else "logits"
        return _ENDINGS.get(activation_of(layer), "logits") if hasattr(layer, "activation") else "logits"

    def _require_same(self) -> Counter[tuple[str, str]]:
        """Prove on noise that the logits lead to the model's own answers; return how often each layer was called."""
        size = self._size or _NOISE_SIZE
        noise = np.random.default_rng(_NOISE_SEED).uniform(0, 255, (2, size, size, self._channels)).astype(np.float32)
        counts: Counter[tuple[str, str]] = Counter()

        def counted(call: Call) -> Any:
            counts[call.layer.name, call.kind] += 1
            return self._run(call)

        try:
            (found,) = walk(self._model, [self._cast(noise)], counted)
            own = np.asarray(self._model(self._cast(noise), training=False), np.float64)
        except Refused:
            raise
        except Exception as error:  # a framework raises whatever a layer runs into
            raise Refused(f"{self._what} can't be run on a photo of {size} x {size} ({_first_line(error)})") from error
        logits = np.asarray(found, np.float64)
        answers = _ended(logits, self._ending)
        spread = max(1.0, float(np.ptp(own))) if np.isfinite(own).all() else 1.0
        if np.isfinite(own).all() and np.abs(answers - own).max() > _TOLERANCE * spread:
            raise Refused(
                f"{self._what} answers otherwise than its layers do one after another, such as because a layer is called with "
                "training=True. Call it with training=False, and save the model again"
            )
        return counts

    def _notes(self, counts: Counter[tuple[str, str]], units: int) -> list[str]:
        notes = []
        if dropped := sorted({kind for _, kind in counts if kind in IDLE and "." not in kind and kind != "Identity"}):
            notes.append(f"layers that only training needs were left out: {', '.join(dropped)}")
        shared = sorted(name for (name, kind), count in counts.items() if count > 1 and kind not in IDLE)
        if shared:
            notes.append(
                f"layers that are used more than once get weights of their own at each use: {', '.join(shared[:5])}"
            )
        if self._is_one_unit:
            notes.append("its one output unit was made two classes: the unit answers for the second one")
        elif self._ending == "sigmoid":
            notes.append(
                f"its {units} outputs are sigmoids, each by itself. tledge takes the highest one, and makes probabilities by "
                "a softmax"
            )
        if self._channels == 1:
            notes.append("it takes grey photos: they are made from R, G and B as 0.299, 0.587 and 0.114")
        return notes

    def _cast(self, images: Floats) -> Any:
        tf = tensorflow()
        return tf.cast(tf.round(images) if self._dtype.is_integer else images, self._dtype)


def loaded(load: Callable[[], Any], library: Any, name: str, path: Path) -> KerasModel:
    """Load a checked file by ``library``, Keras 3 or tf_keras, and return its model. Raises Refused."""
    version = library.__version__
    try:
        model = load()
    except Exception as error:  # Keras raises whatever a damaged or newer file runs into
        raise Refused(
            f"{path.name} can't be opened by {name} {version} ({_first_line(error)}). Open it with the Keras that saved it, and "
            "save it again as .keras, or export it to ONNX"
        ) from error
    return KerasModel(model, f"{name} {version}", path.name)


def _ended(logits: Any, ending: Ending) -> Any:
    if ending == "softmax":
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)
    return 1 / (1 + np.exp(-logits)) if ending == "sigmoid" else logits


def _name(tensor: Any) -> str:
    history = getattr(tensor, "_keras_history", None)
    return repr(str(history[0].name if history else tensor.name))


def _shape(tensor: Any) -> str:
    return "(" + ", ".join("N" if not at else str(one or "open") for at, one in enumerate(tensor.shape)) + ")"


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
