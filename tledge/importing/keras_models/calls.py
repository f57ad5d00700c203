"""This module walks through the calls of layers of which a Keras model consists, inside nested models too.

Keras 3 and tf_keras keep the same graph under slightly different names. The walk is used twice: to compute answers, and to
describe the layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tledge.importing.foreign import LayersUnknown, Refused

# Outside training these layers give what they take.
_IDLE = {
    "ActivityRegularization", "AlphaDropout", "AugMix", "AutoContrast", "CutMix", "Dropout", "Equalization", "GaussianDropout",
    "GaussianNoise", "Identity", "MaxNumBoundingBoxes", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
    "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation",
    "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth", "RandomZoom", "Solarization",
    "SpatialDropout1D", "SpatialDropout2D", "tf.identity", "tf.stop_gradient",
}  # fmt: skip
# These change photos in a fixed way outside training, so they are described or refused like any layer.
_NOT_IDLE = {"AutoContrast", "Equalization", "Solarization", "RandomGrayscale", "MaxNumBoundingBoxes"}
IDLE = frozenset(_IDLE - _NOT_IDLE)


@dataclass(frozen=True)
class Call:
    """A ``Call`` is one call of a layer or an operation.

    Args:
        layer: The layer or operation.
        kind: The name of its class; ``ops.NAME`` for an operation of Keras 3, ``tf.NAME`` for a function in tf_keras.
        args: What it was called with. Tensors are replaced by the values of the walk.
        kwargs: The same by name.
        shape: The shape of its first output, whose open sizes are None.
        num_outputs: The number of its outputs.
        node: Keras' record of the call.
    """

    layer: Any
    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int | None, ...]
    num_outputs: int
    node: Any

    @property
    def is_idle(self) -> bool:
        """Tell whether it gives what it takes, outside training."""
        return self.kind in IDLE and self.num_outputs == 1

    def unknown(self, why: str) -> LayersUnknown:
        """Return the error that names the layer."""
        return LayersUnknown(f"layer {self.layer.name} ({self.kind}): {why}")


def walk(model: Any, values: Sequence[Any], apply: Callable[[Call], Any]) -> list[Any]:
    """Return the values of a model's outputs, where ``apply`` returns the value of one call of a layer.

    A call with several outputs returns a list of them.
    """
    network = graph_of(model)
    known: dict[int, Any] = {id(tensor): value for tensor, value in zip(network.inputs, values, strict=True)}
    for node in _nodes(network):
        layer = _layer(node)
        args, kwargs = (_replaced(one, known) for one in _arguments(node))
        outputs = _outputs(node)
        if is_model(layer):
            given = args[0] if args else next(iter(kwargs.values()))
            results = walk(layer, given if isinstance(given, list | tuple) else [given], apply)
        else:
            shape = tuple(outputs[0].shape)
            result = apply(Call(layer, kind_of(layer), tuple(args), kwargs, shape, len(outputs), node))
            results = list(result) if len(outputs) > 1 else [result]
        known |= {id(tensor): value for tensor, value in zip(outputs, results, strict=True)}
    return [known[id(tensor)] for tensor in network.outputs]


def graph_of(model: Any) -> Any:
    """Return the object that holds the graph of a Functional or Sequential model. Raises Refused where it has none."""
    network = getattr(model, "_functional", model)  # Keras 3 keeps the graph of a Sequential there
    if network is None or not getattr(network, "_nodes_by_depth", None) or not getattr(network, "inputs", None):
        raise Refused(
            f"the model {model.name} ({type(model).__name__}) has no graph of layers. Give it an Input of a fixed shape, or call "
            "it once on a photo, and save it again"
        )
    return network


def is_model(layer: Any) -> bool:
    """Tell whether a layer is a Functional or Sequential model."""
    return hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_functional")


def kind_of(layer: Any) -> str:
    """Return the name of a layer's class; ``ops.NAME`` and ``tf.NAME`` for operations."""
    name = type(layer).__name__
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return f"tf.{layer.get_config()['function']}"
    module = type(layer).__module__
    if module.startswith("keras.src.ops."):
        return f"ops.{name}"
    # Layers that a SavedModel revived without their class have no known arithmetic.
    return name if module.startswith(("keras.", "tf_keras.src.layers.", "tf_keras.layers.")) else f"{module}.{name}"


def ending_of(model: Any) -> Any | None:
    """Return Keras' record of the call that makes a model's output, behind layers that do nothing outside training."""
    network = graph_of(model)
    tensor = network.outputs[0]
    while True:
        node = _maker(tensor)
        if node is None:
            return None
        layer = _layer(node)
        if is_model(layer):
            return ending_of(layer)
        if kind_of(layer) not in IDLE and not _is_linear(layer):
            return node
        given = [one for one in _tensors(_arguments(node)) if hasattr(one, "_keras_history")]
        if len(given) != 1:
            return node
        tensor = given[0]


def run_layer(call: Call) -> Any:
    """Compute a layer's outputs by its own framework, as outside training."""
    if call.is_idle:
        return call.args[0] if call.args else next(iter(call.kwargs.values()))
    kwargs = {name: value for name, value in call.kwargs.items() if name not in ("training", "mask")}
    if "training" in inspect.signature(call.layer.call).parameters:
        kwargs["training"] = False
    return call.layer(*call.args, **kwargs)


def _is_linear(layer: Any) -> bool:
    return kind_of(layer) == "Activation" and activation_of(layer) == "linear"


def activation_of(layer: Any) -> str:
    """Return the name of a layer's activation; ``linear`` where it has none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    return str(getattr(activation, "__name__", None) or type(activation).__name__)


def _nodes(network: Any) -> Iterator[Any]:
    for depth in sorted(network._nodes_by_depth, reverse=True):
        yield from (node for node in network._nodes_by_depth[depth] if not node.is_input)


def _layer(node: Any) -> Any:
    return node.operation if hasattr(node, "operation") else node.layer


def _arguments(node: Any) -> tuple[Any, Any]:
    if hasattr(node, "arguments"):
        return node.arguments.args, node.arguments.kwargs
    return node.call_args, node.call_kwargs


def _outputs(node: Any) -> list[Any]:
    outputs = node.outputs
    return [one for one in _tensors(outputs) if hasattr(one, "shape")]


def _maker(tensor: Any) -> Any | None:
    layer, number, _ = tensor._keras_history
    node = layer._inbound_nodes[number]
    return None if node.is_input else node


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    else:
        yield value


def _replaced(value: Any, known: dict[int, Any]) -> Any:
    """Return the arguments of a call in which the walk's values stand in place of Keras' tensors."""
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value
    if isinstance(value, list | tuple):
        return (
            type(value)([_replaced(one, known) for one in value])
            if type(value) in (list, tuple)
            else [_replaced(one, known) for one in value]
        )
    if isinstance(value, dict):
        return {name: _replaced(one, known) for name, one in value.items()}
    return value
