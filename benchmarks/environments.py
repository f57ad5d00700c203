"""Run the whole line, build, export and verify, in environments that are not the developer's.

    python benchmarks/environments.py
    python benchmarks/environments.py --only "no flock" --only "a Jupyter kernel"

Each row is one environment: no home folder, a file system without locks or modes, few descriptors, little address space,
odd paths, a working directory full of modules that must not run, and a kernel of Jupyter. A row prints how each command
ended, and what was said last where one failed. A refusal is fine where it is the environment's (3) or the user's (2).
Exit code 1 where a command ended as a bug (70) or by a crash, or where something of the working directory ran.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import project_environment
from rich.console import Console
from rich.table import Table

FINE = (0, 2, 3)
COMMANDS = (
    (
        "build",
        "--dataset",
        "digits",
        "--backbone",
        "lenet",
        "--recipe",
        "scratch",
        "--max-epochs",
        "1",
        "--run",
        "small",
    ),
    ("export", "--format", "tflite-int8", "--format", "onnx-float32"),
    ("verify", "--accuracy-only", "--max-drop", "100"),
)
NO_FLOCK = """
import errno, fcntl
def flock(file, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""
NO_CHMOD = """
import errno, os
def chmod(*arguments, **options):
    raise PermissionError(errno.EPERM, "Operation not permitted")
os.chmod = os.fchmod = chmod
"""
NO_NAME = """
import pwd
def getpwuid(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = getpwuid
"""
HOSTILE = "import pathlib; pathlib.Path(__file__).with_suffix('.sprung').touch(); raise SystemExit(99)\n"
KERNEL = """
import os, random, sys
import numpy as np
import tledge

random.seed(5)
np.random.seed(5)
expected = [(random.random(), np.random.random()) for number in range(3)]
random.seed(5)
np.random.seed(5)
drawn = []
for number in range(3):
    drawn.append((random.random(), np.random.random()))
    recipe = tledge.Recipe(name="short", method="whole", batch_norm="trained", max_epochs=1)
    run = tledge.build("digits", backbone="lenet", recipe=recipe, run=f"run{number}")
assert drawn == expected, "the session's random numbers"
assert "tensorflow" not in sys.modules
tledge.export(run, "tflite-int8")
tledge.verify(run, wanted=tledge.Wanted(accuracy_only=True, limits={"max_accuracy_drop_points": 100}))
"""
EXECUTED = (
    "import nbclient, nbformat, sys\n"
    "cells = [nbformat.v4.new_code_cell(sys.argv[1])]\n"
    "nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=900, kernel_name='python3').execute()\n"
)


@dataclass(frozen=True)
class Environment:
    """An environment changes how a command is started.

    ``folder``: name of the working directory. ``patch``: lines that run before the command line. ``limit``: a limit of
    the process and its value.
    """

    name: str
    flags: Sequence[str] = ()
    variables: dict[str, str | None] = field(default_factory=dict)
    folder: str = "here"
    patch: str = ""
    limit: tuple[int, int] | None = None
    is_hostile: bool = False


ENVIRONMENTS = (
    Environment(
        "no HOME, and a user without a name", variables={"HOME": None}, patch=NO_NAME
    ),  # as `docker run --user` has it
    Environment("a home that can't be written", variables={"HOME": "/proc"}),
    Environment("no flock", patch=NO_FLOCK),
    Environment("no chmod", patch=NO_CHMOD),
    Environment("64 descriptors", limit=(resource.RLIMIT_NOFILE, 64)),
    Environment("4 GB of address space", limit=(resource.RLIMIT_AS, 4_000_000_000)),
    Environment("brackets in the path", folder="a [1] b"),
    Environment("a backslash in the path", folder="a\\b"),
    Environment("spaces in the path", folder="my photos"),
    Environment("a path that is not ASCII", folder="фото 写真"),
    Environment("a hostile working directory", is_hostile=True),
    Environment("python -O", flags=("-O",)),
    Environment("python -OO", flags=("-OO",)),
)


def command_of(environment: Environment, arguments: Sequence[str]) -> list[str]:
    """The command line of ``tledge`` in an environment."""
    if not environment.patch:
        return [sys.executable, *environment.flags, "-P", "-m", "tledge", *arguments]
    program = f"{environment.patch}\nfrom tledge.__main__ import main\nmain()"
    return [sys.executable, *environment.flags, "-P", "-c", program, *arguments]


def limited(environment: Environment) -> Callable[[], None] | None:
    """What a process does to itself before it becomes the command."""
    if environment.limit is None:
        return None
    which, value = environment.limit
    return lambda: resource.setrlimit(which, (value, value))


def ran(environment: Environment, scratch: Path) -> tuple[list[int], str]:
    """The exit code of each command up to the first that fails, and what that one said last."""
    folder = scratch / environment.folder
    folder.mkdir(parents=True)
    if environment.is_hostile:
        for name in ("types", "typing", "socket", "numpy", "tensorflow", "sitecustomize", "tledge"):
            (folder / f"{name}.py").write_text(HOSTILE)
    variables = {name: value for name, value in os.environ.items() if name != "TLEDGE_CACHE_DIR"}
    variables |= {"HOME": str(scratch), **project_environment()} | {"HOME": str(scratch)}
    for name, value in environment.variables.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    codes: list[int] = []
    for arguments in COMMANDS:
        ended = subprocess.run(
            command_of(environment, arguments),
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            preexec_fn=limited(environment),
        )
        codes.append(ended.returncode)
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            return codes, said[-1] if said else ""
    sprung = sorted(path.name for path in folder.glob("*.sprung"))
    return ([*codes, 70], f"ran {', '.join(sprung)}") if sprung else (codes, "")


def in_a_kernel(scratch: Path) -> tuple[list[int], str]:
    """Three builds in a loop between the session's own random draws, then an export and a verification."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", EXECUTED, KERNEL],
        cwd=scratch,
        env=project_environment(TLEDGE_CACHE_DIR=str(scratch / "cache")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = ended.stderr.strip().splitlines()
    return [ended.returncode and 70], said[-1] if ended.returncode and said else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kernel = "a Jupyter kernel"
    names = [*(one.name for one in ENVIRONMENTS), kernel]
    parser.add_argument("--only", action="append", choices=names, help="run this environment only (repeatable)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    asked = parser.parse_args()
    rows: list[tuple[str, list[int], str]] = []
    for name in asked.only or names:
        with tempfile.TemporaryDirectory(prefix="tledge-environments-") as folder:
            scratch = Path(folder)
            scratch.chmod(0o755)
            found = [one for one in ENVIRONMENTS if one.name == name]
            codes, said = ran(found[0], scratch) if found else in_a_kernel(scratch)
        rows.append((name, codes, said))
        print(f"{name}: {' '.join(map(str, codes))} {said}", file=sys.stderr)
    if asked.json:
        print(
            json.dumps(
                [{"environment": name, "exit_codes": codes, "said": said} for name, codes, said in rows], indent=2
            )
        )
    else:
        table = Table("environment", "build, export, verify", "said last")
        for name, codes, said in rows:
            table.add_row(name, " ".join(map(str, codes)), said)
        Console(width=160).print(table)
    raise SystemExit(any(code not in FINE for _, codes, _ in rows for code in codes))


if __name__ == "__main__":
    main()
