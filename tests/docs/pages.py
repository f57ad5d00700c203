"""Reads the blocks of a page and runs them as a reader would: in their order, in one folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

DOCS = Path(__file__).parent.parent.parent / "docs"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_IN = ", in "
# Another CPU trains another network: figures, and verdicts that follow from them, differ.
_FIGURE = re.compile(r"[+\-\N{MINUS SIGN}]?\d[\d.,]*")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    ``title``: the file that it is, or ``FILE, in NAME`` for lines that a reader adds to the dict of that name or to the dict
    that the function of that name returns. It is empty for a block that is to be run or was printed.
    """

    language: str
    title: str
    text: str

    @property
    def is_added(self) -> bool:
        """Whether the block is lines to be added to a file."""
        return _IN in self.title


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def run(page: Path, folder: Path) -> None:
    """Run all blocks of a page in ``folder``, as :func:`run_blocks` does."""
    run_blocks(blocks_of(page), folder, page.name)


def run_blocks(blocks: list[Block], folder: Path, name: str) -> None:
    """Run the ``sh`` and ``python`` blocks of the page ``name``, and write its titled blocks as files, all in ``folder``.

    A block of text that follows one that ran is what it prints: each of its lines must have been printed, whatever its
    figures. Raises AssertionError with the block that failed.
    """
    printed: str | None = None
    for block in blocks:
        if block.is_added:
            _add(block, folder)
            printed = None
        elif block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
            printed = None
            if block.title.startswith(".github/workflows/"):
                run_workflow(block.text, folder)
        elif block.language in ("sh", "python"):
            printed = _output(block, folder)
        elif block.language == "text" and printed is not None:
            shown = {_shape(line) for line in printed.splitlines()}
            missing = [line for line in block.text.splitlines() if _shape(line) not in shown]
            assert not missing, f"{name}: not printed: {missing}\n{printed}"
            printed = None


def _add(block: Block, folder: Path) -> None:
    """Add a block's lines at the beginning of the dict that its title names."""
    file, name = block.title.split(_IN)
    lines = (folder / file).read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(
        number for number, line in enumerate(lines) if re.match(rf"(def )?{re.escape(name.rstrip('()'))}\b", line)
    )
    first = next(number for number, line in enumerate(lines) if number >= start and line.endswith("{\n")) + 1
    (folder / file).write_text("".join([*lines[:first], block.text, *lines[first:]]), encoding="utf-8")


def run_workflow(text: str, folder: Path) -> None:
    """Run the steps of a GitHub workflow's only job as a runner does, in a folder that is the checked-out repository.

    A checkout into another path gets a copy of the folder's files. tledge is installed already.
    """
    workflow = yaml.safe_load(text)
    assert workflow["defaults"]["run"]["shell"] == "bash"  # without it a runner takes a bash that knows no pipefail
    (job,) = workflow["jobs"].values()
    for step in job["steps"]:
        if other := step.get("with", {}).get("path"):
            files = [path for path in folder.iterdir() if path.is_file()]
            (folder / other).mkdir()
            for path in files:
                shutil.copy(path, folder / other)
        if "run" in step and not step["run"].startswith("pip install "):
            _run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"], step["run"], folder)


def _output(block: Block, folder: Path) -> str:
    """What a block prints on standard output."""
    return _run(["sh", "-euc"] if block.language == "sh" else [sys.executable, "-c"], block.text, folder)


def _run(program: list[str], text: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # A reader's shell is no process of a test run, whose folder pytest would share with its other processes.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_XDIST_", "TLEDGE_TESTS_"))}
    ended = subprocess.run(
        [*program, text],
        cwd=folder,
        env={**own, "PATH": path, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def _shape(line: str) -> str:
    """A printed line without its figures and the width of its columns."""
    return re.sub(r"\s+", " ", _FIGURE.sub("0", line)).strip()
