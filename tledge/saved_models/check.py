"""This module checks what a SavedModel holds before TensorFlow loads it.

A SavedModel is a program, and it may be a stranger's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from tledge.saved_models.operators import IMAGE_NETWORK, SAVER

# TensorFlow restores objects of these kinds without running a function of the SavedModel. A resource would run one.
_PASSIVE = frozenset(
    {"user_object", "function", "bare_concrete_function", "variable", "constant", "captured_tensor", "asset", None}
)
# By these attributes a function asks TensorFlow to call it in place of another one.
_INSTEAD = frozenset({"api_implements", "api_preferred_device", "forward_function_name", "backward_function_name"})
_PASSIVE_CLASSES = frozenset({"", "tf.TrackableConstant"})  # the names under which TensorFlow registers them


def objection(saved_model: Any) -> str | None:
    """Say why a parsed SavedModel is not to be loaded, to follow "is refused: "; None where there is no objection.

    A SavedModel must hold one graph in TensorFlow 2's format. All functions of its library are read, so that it does
    not matter which of them are ever called.
    """
    if len(saved_model.meta_graphs) != 1 or not saved_model.meta_graphs[0].HasField("object_graph_def"):
        return "it is in TensorFlow 1's format, or holds several graphs"
    (meta_graph,) = saved_model.meta_graphs
    return _operators(meta_graph) or _objects(meta_graph.object_graph_def) or _assets(meta_graph)


def _operators(meta_graph: Any) -> str | None:
    from tensorflow.python.framework import op_def_registry

    graph = meta_graph.graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    if len(functions) < len(graph.library.function) or len({node.name for node in graph.node}) < len(graph.node):
        return "a name in its graph occurs twice"
    # A function that bears an operator's name would make the operator look like a call of it.
    found = {name for name in functions if op_def_registry.get(name)}
    saver = _Saver(meta_graph, functions)
    found |= {node.op for node in graph.node if not _is_allowed(node, functions, saver.has_node(node))}
    for name, function in functions.items():
        found |= {node.op for node in function.node_def if not _is_allowed(node, functions, name in saver.functions)}
    if found:
        return f"its graph holds {', '.join(sorted(found))}, which no image network needs"
    if other := next(saver.others(), None):
        return f"{other} calls the functions that write and read the variables' files"
    return None


def _is_allowed(node: Any, functions: dict[str, Any], is_savers: bool) -> bool:
    return node.op in IMAGE_NETWORK or node.op in functions or (is_savers and node.op in SAVER)


class _Saver:
    """A saver is the nodes and functions by which a SavedModel writes and reads its variables.

    The SavedModel's ``saver_def`` names them. TensorFlow's loader reads variables by itself and calls none of them.
    They are harmless as long as nothing else calls them.
    """

    def __init__(self, meta_graph: Any, functions: dict[str, Any]) -> None:
        self._meta_graph, self._all = meta_graph, functions
        self._nodes = {node.name: node for node in meta_graph.graph_def.node}
        named = meta_graph.saver_def
        self._roots = {_node(name) for name in (named.save_tensor_name, named.restore_op_name) if name}
        self._own = _closure(
            self._roots, lambda name: map(_node, self._nodes[name].input) if name in self._nodes else ()
        )
        begun = chain.from_iterable(_called(self._nodes[name], functions) for name in self._roots & self._nodes.keys())
        self.functions = _closure(begun, self._called_by)
        """These are the names of the functions that the nodes in ``saver_def`` call, directly or through others."""

    def has_node(self, node: Any) -> bool:
        """Return whether a node of the graph itself, outside all functions, belongs to the saver."""
        return node.name in self._own

    def others(self) -> Iterator[str]:
        """Yield what else calls the saver, or takes its results, each as the subject of a sentence."""
        reaching = {name for name in self.functions if any(node.op in SAVER for node in self._all[name].node_def)}
        while more := {n for n in self.functions - reaching if reaching & set(self._called_by(n))}:
            reaching |= more
        yield from (
            f"its function {name!r}"
            for name in self._all.keys() - self.functions
            if reaching & set(self._called_by(name))
        )
        saving = {node.name for node in self._nodes.values() if node.op in SAVER and self.has_node(node)} | self._roots
        for node in self._nodes.values():
            calls = node.name not in self._roots and reaching & set(_called(node, self._all))
            if calls or (not self.has_node(node) and saving & set(map(_node, node.input))):
                yield f"its node {node.name!r}"
        for name, signature in self._meta_graph.signature_def.items():
            if saving & {_node(output.name) for output in signature.outputs.values()}:
                yield f"its signature {name!r}"
        if reaching & set(_exposed(self._meta_graph)):
            yield "an object of it"
        if any(_INSTEAD & set(self._all[name].attr) for name in reaching):
            yield "TensorFlow instead of another function"

    def _called_by(self, name: str) -> Iterator[str]:
        return chain.from_iterable(_called(node, self._all) for node in self._all[name].node_def)


def _called(node: Any, functions: dict[str, Any]) -> Iterator[str]:
    """Yield the functions of the library that a node names, by its operator or in an attribute."""
    named = [node.op]
    for value in node.attr.values():
        named += _functions_in(value)
    return (name for name in named if name in functions)


def _functions_in(value: Any) -> Iterator[str]:
    for func in (value.func, *value.list.func):
        if func.name:
            yield func.name
            for inner in func.attr.values():
                yield from _functions_in(inner)


def _exposed(meta_graph: Any) -> Iterator[str]:
    """Yield the functions that can be called in a loaded SavedModel: by Python, or by TensorFlow for gradients."""
    objects = meta_graph.object_graph_def
    yield from objects.concrete_functions
    for one in objects.nodes:
        yield from one.function.concrete_functions
        yield one.bare_concrete_function.concrete_function_name
    for gradient in meta_graph.graph_def.library.gradient:
        yield gradient.gradient_func
    for registered in meta_graph.graph_def.library.registered_gradients:
        yield registered.gradient_func


def _closure(begin: Iterable[str], following: Any) -> set[str]:
    """Return all names that can be reached from those in ``begin``, which are among them."""
    found: set[str] = set()
    left = list(begin)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += following(name)
    return found


def _node(name: str) -> str:
    """Return the node to which the name of a tensor or of a control input belongs."""
    return name.removeprefix("^").partition(":")[0]


def _objects(objects: Any) -> str | None:
    found = set()
    for one in objects.nodes:
        kind = one.WhichOneof("kind")
        found |= {kind} - _PASSIVE
        found |= {one.registered_name, one.registered_saver} - _PASSIVE_CLASSES
        # By these functions an object reads itself from the variables' files.
        found |= {f"{name} (restored by a function)" for name in one.saveable_objects}
    if found:
        return f"its objects hold {', '.join(sorted(map(str, found)))}, which no image network needs"
    return None


def _assets(meta_graph: Any) -> str | None:
    for asset in meta_graph.asset_file_def:
        if PurePosixPath(asset.filename).name != asset.filename or asset.filename == "..":
            return f"it names the file {asset.filename!r} outside its folder"
    return None
