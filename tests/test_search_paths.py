"""What lies in the working directory is never run: no module, no program, whatever process or library looks it up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tledge.audit.shapes import inferred_shapes
from tledge.errors import ArtifactError, InputError
from tledge.exporters.processes import Processes
from tledge.search_paths import require_no_gpu_tools, safe_environment
from tledge.training.plot import plot_trials

CONSOLE_SCRIPT = str(Path(sys.executable).with_name("tledge"))
PROGRAMS = ("git", "gcc", "cc", "ld", "ldconfig", "lscpu", "uname", "latex", "ptxas", "nvidia-smi", "sh", "python3")


class Trap:
    """A folder that runs code of its own where something in it is imported or called; ``sprung`` says what was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marker = folder.parent / "sprung"
        names = {*sys.stdlib_module_names, *packages_distributions()} - {"tledge"}
        for name in sorted(name for name in names if name.isidentifier()):
            # As early as Python looks for encodings, even open is not there yet.
            code = (
                f"import _io\n_io.FileIO({str(self._marker)!r}, 'a').write(b'{name}\\n')\nraise ImportError('trap')\n"
            )
            (folder / f"{name}.py").write_text(code)
        for name in PROGRAMS:
            (folder / name).write_text(f"#!/bin/sh\necho {name} >> '{self._marker}'\n")
            (folder / name).chmod(0o755)

    def sprung(self) -> list[str]:
        """Names of what was run, in order."""
        return self._marker.read_text().split() if self._marker.exists() else []

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command line in the folder, and see that it ends well and nothing in there was run."""
        ended = subprocess.run(
            list(map(str, command)), cwd=self.folder, env={**os.environ, **variables}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert self.sprung() == []
        assert ended.returncode == 0, ended.stderr
        return ended


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    """One with a module for each of the standard library and of all that is installed here."""
    folder = tmp_path / "photos of a stranger"
    folder.mkdir()
    return Trap(folder)


def test_the_trap_springs_where_python_looks_for_modules_in_the_working_directory(trap: Trap) -> None:
    subprocess.run([sys.executable, "-c", "import socket"], cwd=trap.folder, check=False, capture_output=True)
    assert trap.sprung() == ["socket"]


def test_processes_of_exports_import_nothing_of_the_working_directory(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trap.folder)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with Processes(1) as processes:
        path = processes.call("a", eval, "__import__('sys').path")
    assert trap.sprung() == []
    assert not {"", str(trap.folder)} & set(path)


def test_the_process_that_infers_shapes_imports_nothing_of_the_working_directory(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trap.folder)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(ArtifactError, match="ONNX can't infer"):
        inferred_shapes(b"no model")
    assert trap.sprung() == []


def test_what_libraries_start_in_the_command_line_s_process_imports_nothing_of_the_working_directory(
    trap: Trap,
) -> None:
    # multiprocessing starts its resource tracker beside the process, and joblib's does so too.
    library = (
        "import multiprocessing, subprocess, sys\n"
        "from tledge.search_paths import protect_this_process\n"
        "if __name__ == '__main__':\n"
        "    protect_this_process()\n"
        "    process = multiprocessing.get_context('spawn').Process(target=print, args=('spawned',))\n"
        "    process.start(); process.join()\n"
        "    subprocess.run([sys.executable, '-c', 'import signal, typing'], check=True)\n"
        "    subprocess.run(['uname'], check=True, stdout=subprocess.DEVNULL)\n"
    )
    program = trap.folder.parent / "program.py"
    program.write_text(library)
    ended = trap.run(sys.executable, program, PATH=f"{os.pathsep}{os.environ['PATH']}")
    assert ended.stdout.strip() == "spawned"


def test_a_command_protects_what_its_libraries_start(trap: Trap) -> None:
    # A library may start processes up to the end of the command.
    library = (
        "import atexit, subprocess, sys\n"
        "from tledge.cli.main import main\n"
        "def start() -> None:\n"
        "    subprocess.run([sys.executable, '-c', 'import signal, typing'], check=True)\n"
        "    subprocess.run(['uname'], check=True, stdout=subprocess.DEVNULL)\n"
        "    print('started', file=sys.stderr, flush=True)\n"
        "atexit.register(start)\n"
        "sys.argv = ['tledge', 'runs', '--json']\n"
        "main()\n"
    )
    program = trap.folder.parent / "program.py"
    program.write_text(library)
    ended = trap.run(sys.executable, program, PATH=f"{os.pathsep}{os.environ['PATH']}")
    assert ended.stderr.strip() == "started"


@pytest.mark.parametrize("start", [[CONSOLE_SCRIPT], [sys.executable, "-P", "-m", "tledge"]], ids=["script", "module"])
def test_the_command_line_imports_nothing_of_the_working_directory(trap: Trap, start: list[str]) -> None:
    assert json.loads(trap.run(*start, "runs", "--json").stdout) == {"runs": []}


def test_without_safe_path_no_dependency_is_imported_from_the_working_directory(trap: Trap) -> None:
    for name in sys.stdlib_module_names:  # Python itself imports some, before a line of tledge's
        (trap.folder / f"{name}.py").unlink(missing_ok=True)
    trap.run(sys.executable, "-m", "tledge", "runs")


@pytest.mark.parametrize("name", ["PATH", "PYTHONPATH", "LD_LIBRARY_PATH"])
@pytest.mark.parametrize(
    ("entries", "safe"),
    [(":/a::/b:", "/a:/b"), ("/a", "/a"), (".:lib", ".:lib"), (":", None), ("", None)],
)
def test_an_empty_entry_of_a_search_path_is_left_out_and_a_named_folder_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, entries: str, safe: str | None
) -> None:
    monkeypatch.setenv(name, entries)
    assert safe_environment(OTHER="1").get(name) == safe
    assert safe_environment(OTHER="1")["OTHER"] == "1"


def test_the_loader_of_libraries_takes_semicolons_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/a;;/b:")
    assert safe_environment()["LD_LIBRARY_PATH"] == "/a:/b"


@pytest.mark.parametrize("tool", ["cuda_sdk_lib/bin/ptxas", "bin/ptxas"])
def test_compilers_for_a_gpu_in_the_working_directory_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.chdir(tmp_path)
    require_no_gpu_tools()
    (tmp_path / tool).parent.mkdir(parents=True)
    (tmp_path / tool).touch()
    with pytest.raises(InputError, match=f"{tool.removesuffix('/bin/ptxas')} in the working directory"):
        require_no_gpu_tools()


def test_settings_that_matplotlib_found_in_the_working_directory_do_not_reach_the_plots(tmp_path: Path) -> None:
    import matplotlib

    plot_trials([0.5, 0.6], [False, True], tmp_path / "plain.png")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30}):
        plot_trials([0.5, 0.6], [False, True], tmp_path / "set.png")
    assert (tmp_path / "set.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.long
def test_every_command_on_a_whole_line_runs_nothing_of_the_working_directory(
    trap: Trap, tmp_path: Path, photo_bytes: Callable[..., bytes]
) -> None:
    kept = {"TLEDGE_CACHE_DIR": str(tmp_path / "cache"), "TLEDGE_ARTIFACTS": str(tmp_path / "artifacts")}
    # A path that people make by "$LD_LIBRARY_PATH:/usr/lib" where it was not set.
    kept |= {"LD_LIBRARY_PATH": "", "PATH": f"{os.environ['PATH']}{os.pathsep}"}
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_bytes(0))
    digits, network = ["--dataset", "digits"], ["--recipe", "scratch", "--max-epochs", "1"]

    def tledge(*arguments: str | Path) -> None:
        trap.run(CONSOLE_SCRIPT, *arguments, **kept)

    tledge("build", *digits, "--backbone", "lenet", *network, "--run", "lenet", "--tensorboard", tmp_path / "board")
    tledge("build", *digits, "--backbone", "bundled", "--run", "head")
    formats = ["tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8", "tflite-int8-qat"]
    asked = [word for name in formats for word in ("--format", name)]
    tledge("export", "--run", "lenet", "--jobs", "2", "--epochs", "1", *asked)
    budget = ["--max-drop", "100", "--p95-ms", "1e9", "--max-mb", "1e9", "--max-memory-mb", "1e9"]
    tledge("verify", "--run", "lenet", "--layers", "--protocol", "quick", *budget)
    tledge("predict", photo, "--run", "lenet")
    tledge("predict", photo, "--run", "lenet", "--artifact", "onnx-int8")
    tledge("evaluate", "--run", "lenet", *digits, "--artifact", "tflite-int8", "--include-seen")
    tledge("embed", "--run", "head", *digits, "--out", tmp_path / "features.parquet")
    tledge("tune", *digits, "--backbone", "bundled", "--trials", "2")
    tledge("report", "--run", "lenet")
