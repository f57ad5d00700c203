"""This program infers the shapes of an ONNX graph by ONNX's own inference, in a process of its own.

The inference is native code over hostile input. A crash, a hang or a lack of memory ends that process only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from tledge.confinement import confine, die_with_parent
from tledge.errors import ArtifactError
from tledge.search_paths import safe_environment

_TIME_LIMIT_S = 60


def inferred_shapes(data: bytes) -> dict[str, tuple[int, ...]]:
    """Infer the shapes of the main graph's tensors for one photo. Tensors of unknown size are left out.

    An input for any number of photos is taken as an input for one. What the file itself claims of tensors inside the
    graph is not read. Raises ArtifactError for a model that the inference refuses, crashes on, or does not finish in
    60 s.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "tledge.audit.shapes", str(os.getpid())],
            env=safe_environment(), input=data, capture_output=True, timeout=_TIME_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"its shapes were not inferred within {_TIME_LIMIT_S} s") from error
    if child.returncode != 0:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        # A process that a signal ended has a negative code, and left no line.
        said = lines[-1][:300] if lines and child.returncode > 0 else f"it ended with code {child.returncode}"
        raise ArtifactError(f"ONNX can't infer its shapes: {said}")
    return {name: tuple(shape) for name, shape in json.loads(child.stdout).items()}


def _infer(data: bytes) -> dict[str, list[int]]:
    import onnx

    model = onnx.load_model_from_string(data)
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in model.graph.input:
        first = value.type.tensor_type.shape.dim[:1]
        if first and not first[0].HasField("dim_value"):
            first[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[value.name] = [dim.dim_value for dim in kind.shape.dim]
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends native code too, which Python's own handler does not
    die_with_parent(int(sys.argv[1]))
    confine()
    json.dump(_infer(sys.stdin.buffer.read()), sys.stdout)
