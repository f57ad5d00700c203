"""This module turns a network of tf_keras.applications and its preprocessing into one flat graph.

It edits the description of the network and builds it anew, for two reasons. Two of Keras' constructors ignore layers that
are put before their input. One makes models inside the model, whose layers can't be cut or trained one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tledge.backbones.backbone import RESCALE


def flattened(network: Any, scale: Sequence[float], offset: Sequence[float]) -> Any:
    """Build the tf_keras.Model ``network`` behind a layer ``rescale``, which computes ``scale * x + offset``.

    ``scale`` and ``offset`` hold one number each for R, G and B. Where they would change nothing, there is no ``rescale``. The
    weights have no meaning yet. The input is named ``images``, and the other layers keep their names. The layers of a
    Sequential stand in its place.
    """
    import tf_keras

    first, *others = network.get_config()["layers"]
    layers = [_description("InputLayer", first["config"] | {"name": "images"}, [])]
    stands_for = {first["name"]: "images"}
    if (*scale, *offset) != (1, 1, 1, 0, 0, 0):
        layers.append(_rescale(scale, offset))
        stands_for[first["name"]] = RESCALE
    left_out = set()
    for layer in others:
        reads = layer["inbound_nodes"]
        if layer["class_name"] in ("Rescaling", "Normalization") or (
            layer["class_name"] == "TFOpLambda" and reads[0][0][0] in left_out
        ):
            # EfficientNet has these layers inside. "rescale" computes the same.
            stands_for[layer["name"]] = stands_for[reads[0][0][0]]
            left_out.add(layer["name"])
            continue
        inner = layer["config"]["layers"] if layer["class_name"] == "Sequential" else [layer]
        for one in (one for one in inner if one["class_name"] != "InputLayer"):
            class_name, config = _plain(one["class_name"], one["config"])
            layers.append(_description(class_name, config, _renamed(reads, stands_for)))
            reads = [[[config["name"], 0, 0, {}]]]
        stands_for[layer["name"]] = reads[0][0][0] if inner != [layer] else layer["name"]
    own = {type(layer).__name__: type(layer) for layer in network.layers}
    ends = _renamed(network.get_config()["output_layers"], stands_for)
    description = {"name": network.name, "layers": layers, "input_layers": [["images", 0, 0]], "output_layers": ends}
    return tf_keras.Model.from_config(description, custom_objects=own)


def _rescale(scale: Sequence[float], offset: Sequence[float]) -> dict[str, Any]:
    """Describe ``scale * x + offset`` as a DepthwiseConv2D, because tensorflow-model-optimization can't take Rescaling."""
    from tf_keras import initializers, layers

    layer = layers.DepthwiseConv2D(
        1,
        depthwise_initializer=initializers.Constant(list(scale)),
        bias_initializer=initializers.Constant(list(offset)),
        trainable=False,
        name=RESCALE,
    )
    return _description("DepthwiseConv2D", layer.get_config(), [[["images", 0, 0, {}]]])


def _plain(class_name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the class name and the config of a layer, where a DepthwiseConv2D replaces ConvNeXt's LayerScale.

    LayerScale multiplies each channel by a factor. Its variables all have the same name.
    """
    from tf_keras import initializers, layers

    if class_name != "LayerScale":
        return class_name, config
    start = initializers.Constant(config["init_values"])
    layer = layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=start, name=config["name"])
    return "DepthwiseConv2D", layer.get_config()


def _description(class_name: str, config: dict[str, Any], reads: Any) -> dict[str, Any]:
    # The description lacks the shapes that Keras adds. From them Keras would build a layer outside the scope of its name,
    # and all kernels would be called "kernel".
    return {"class_name": class_name, "name": config["name"], "config": config, "inbound_nodes": reads}


def _renamed(nodes: Any, stands_for: dict[str, str]) -> Any:
    """Rename the layers in a description's references, each [name, call, output, ...] at any depth.

    ``stands_for``: the new name by the old one; other names stay. Every layer of a flat graph is called once. So the number
    of the call becomes 0, where a Sequential also counted its construction.
    """
    if isinstance(nodes, dict):
        return {key: _renamed(value, stands_for) for key, value in nodes.items()}
    if not isinstance(nodes, list | tuple):
        return nodes
    if nodes and isinstance(nodes[0], str):
        name, _, *others = nodes
        return [stands_for.get(name, name), 0, *(_renamed(other, stands_for) for other in others)]
    return [_renamed(node, stands_for) for node in nodes]
