"""How far the artifacts of a run answer otherwise on x86 CPUs of other generations: under QEMU, photo by photo.

    python benchmarks/cpus.py artifacts/RUN [--cpus max SandyBridge Nehalem] [--photos 40]

Each file runs once on this machine and once in `qemu-x86_64-static -cpu NAME`, by the same libraries, with one thread; a TFLite
file with XNNPACK and with LiteRT's reference kernels. QEMU has neither AVX-512 nor VNNI: ``max`` has AVX2 and FMA, the two
others do not. The first table is of this machine alone: ONNX Runtime's kernels beside those that add in 32 bits, and XNNPACK
beside the reference kernels.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

CPUS = ("max", "SandyBridge", "Nehalem")
_EXACT = " (sums in 32 bits)"
_XNNPACK, _REFERENCE = ", XNNPACK", ", reference kernels"


def answers(files: list[Path], photos: np.ndarray, *, is_exact: bool) -> dict[str, np.ndarray]:
    """Returns the probabilities (N, C) of each file and kind of kernels, for uint8 photos (N, S, S, 3).

    ``is_exact``: add ONNX Runtime's rows of kernels that add in 32 bits.
    """
    found = {}
    for file in files:
        name = file.parent.name
        if file.suffix == ".onnx":
            found[name] = _onnx(file, photos, is_exact=False)
            if is_exact:
                found[name + _EXACT] = _onnx(file, photos, is_exact=True)
        else:
            found[name + _XNNPACK] = _tflite(file, photos, is_reference=False)
            found[name + _REFERENCE] = _tflite(file, photos, is_reference=True)
    return found


def _onnx(file: Path, photos: np.ndarray, *, is_exact: bool) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if is_exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {taken: photo[None]})[0] for photo in photos])


def _tflite(file: Path, photos: np.ndarray, *, is_reference: bool) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF if is_reference else OpResolverType.AUTO
    interpreter = Interpreter(str(file), num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"] if given["quantization"][0] else (1.0, 0)
    found = []
    for photo in photos:
        interpreter.set_tensor(taken["index"], photo[None])
        interpreter.invoke()
        found.append((interpreter.get_tensor(given["index"]).astype(np.float32) - zero_point) * scale)
    return np.concatenate(found)


def emulated(cpu: str, files: list[Path], photos: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the same as ``answers`` of a CPU that QEMU emulates. Raises SystemExit where it can't."""
    emulator = shutil.which("qemu-x86_64-static")
    if emulator is None:
        raise SystemExit("needs qemu-x86_64-static, of Debian's qemu-user-static")
    with tempfile.TemporaryDirectory(prefix="tledge-") as folder:
        taken, given = Path(folder, "photos.npy"), Path(folder, "answers.npz")
        np.save(taken, photos)
        command = [emulator, "-cpu", cpu, sys.executable, __file__, "--inside", str(taken), str(given)]
        done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{cpu}: exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        with np.load(given) as found:
            return {name: found[name] for name in found.files}


def table(title: str, pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> Table:
    """Returns a row a name: how many answers differ, and how far probabilities do."""
    made = Table("file", "other class", "mean dp", "largest dp", title=title)
    for name, (one, other) in pairs.items():
        others = int((one.argmax(1) != other.argmax(1)).sum())
        difference = np.abs(one - other)
        made.add_row(name, f"{others} of {len(one)}", f"{difference.mean():.5f}", f"{difference.max():.4f}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a run with artifacts")
    parser.add_argument("--cpus", nargs="+", default=CPUS, help="names that `qemu-x86_64-static -cpu help` lists")
    parser.add_argument("--photos", type=int, default=40, help="how many of the run's test photos")
    given = parser.parse_args()

    from tledge.datasets.run_photos import load_split
    from tledge.machine import cpu_flags, cpu_name
    from tledge.progress import Silent
    from tledge.run import open_run

    run = open_run(given.run.resolve().parent, given.run.resolve().name)
    photos: Any = np.stack(list(load_split(run, "test", Silent()).pixels[: given.photos]))
    files = [run.export_folder(name) / run.export_record(name).file for name in run.exports()]
    here = answers(files, photos, is_exact=True)
    console = Console(width=120)
    console.print(f"{cpu_name()}: {', '.join(cpu_flags())}; {len(photos)} test photos of {run.name}")
    console.print(
        table(
            "here: one kind of kernels against the other",
            {name: (found, _other(name, here)) for name, found in here.items() if _other(name, here) is not None},
        )
    )
    for cpu in given.cpus:
        there = emulated(cpu, files, photos)
        console.print(table(f"here against {cpu}", {name: (here[name], there[name]) for name in there}))


def _other(name: str, found: dict[str, np.ndarray]) -> Any:
    """Returns the answers of the other kind of kernels; None for what stands on the right of a pair."""
    return found.get(name.replace(_XNNPACK, _REFERENCE) if _XNNPACK in name else name + _EXACT)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        np.savez(sys.argv[3], **answers(list(map(Path, sys.argv[4:])), np.load(sys.argv[2]), is_exact=False))
    else:
        main()
