"""ONNX files run as an x86 CPU without VNNI runs them: by QEMU, in a process of its own."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_SCRIPT = """
import sys
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
inputs = np.load(sys.argv[1])
answers = {}
for name in inputs.files:
    session = onnxruntime.InferenceSession(name, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    answers[name] = np.concatenate([session.run(None, {taken.name: one[None]})[0] for one in inputs[name]])
np.savez(sys.argv[2], **answers)
"""


def answers_without_vnni(inputs: dict[Path, np.ndarray], folder: Path) -> dict[Path, np.ndarray]:
    """Returns what each ONNX file answers, (N, ...), to its inputs, (N, ...) one at a time, on a CPU with AVX2 and no VNNI."""
    emulator = shutil.which("qemu-x86_64-static")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("needs qemu-x86_64-static, of Debian's qemu-user-static, on an x86-64 machine")
    taken, given = folder / "inputs.npz", folder / "answers.npz"
    np.savez(taken, **{str(path): values for path, values in inputs.items()})
    command = [emulator, "-cpu", "max", sys.executable, "-I", "-c", _SCRIPT, str(taken), str(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    with np.load(given) as answers:
        return {path: answers[str(path)] for path in inputs}


def exact_answers(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Returns the same of ONNX Runtime's kernels that add all products in 32 bits, which are slow and there on every x86 CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return np.concatenate([session.run(None, {taken.name: one[None]})[0] for one in inputs])
