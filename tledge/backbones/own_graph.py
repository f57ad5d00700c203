"""A stranger's backbone can fail while its graph is traced, converted or run. The user is told so, by its name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tledge.backbones.opening import is_name
from tledge.backbones.source import is_address
from tledge.errors import InputError, TledgeError, environment_fault

# TensorFlow, LiteRT and ONNX Runtime name the node of a graph that failed in these words.
_NODE = re.compile(r"\{\{node |in user code:|Node number \d+|while running \w+ node")
_MOST_CHARACTERS = 300


@contextlib.contextmanager
def errors_of(handle: str) -> Iterator[None]:
    """Raise InputError for an error of the graph of the backbone ``handle``, where it is not one of tledge's own.

    Other errors are raised as they are.
    """
    try:
        yield
    except Exception as error:
        is_strangers = is_address(handle) or not is_name(handle)
        if isinstance(error, TledgeError) or environment_fault(error) or not is_strangers or not _is_of_a_graph(error):
            raise
        raise InputError(
            f"backbone {handle} fails in its own graph: {_sentence(error)}. Choose another --backbone."
        ) from error


def _is_of_a_graph(error: Exception) -> bool:
    import tensorflow as tf

    return isinstance(error, tf.errors.OpError) or _NODE.search(str(error)) is not None


def _sentence(error: Exception) -> str:
    """Return the line that says what happened. In an error of tracing it comes last, after lines of code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = lines[-1] if lines[0].endswith("in user code:") else lines[0]
    return line[:_MOST_CHARACTERS].rstrip(".")
