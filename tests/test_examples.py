"""Every example runs as its text says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long  # each script builds, exports and verifies

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def _run(program: str | Path, folder: Path) -> str:
    """What a script, or the text of one, prints in ``folder``."""
    given = [str(program)] if isinstance(program, Path) else ["-c", program]
    ended = subprocess.run(
        [sys.executable, *given],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{program}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def test_the_scripts_run_in_their_order(tmp_path: Path) -> None:
    printed = [_run(script, tmp_path) for script in SCRIPTS]
    assert "verdict: " in printed[0]
    assert printed[1].count(" points (") == 2
    assert printed[2].count("answered") == 5
    assert "largest drop of recall: class " in printed[3]


def test_the_page_of_the_examples_lists_each_of_them() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in page for path in [*SCRIPTS, *EXAMPLES.glob("*.ipynb")])


def _executed(notebook: Path, folder: Path) -> list[str]:
    """The text that each cell of a notebook shows, run by a kernel of Jupyter in ``folder``."""
    program = (
        "import sys, nbformat, nbclient\n"
        "notebook = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(notebook, timeout=600, kernel_name='python3').execute()\n"
        "nbformat.write(notebook, 'executed.ipynb')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, notebook], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    cells = json.loads((folder / "executed.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join("".join(output.get("text", "")) for output in cell.get("outputs", ())) for cell in cells]


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel_and_shows_its_steps(notebook: Path, tmp_path: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells), "outputs are not kept"
    shown = "\n".join(_executed(notebook, tmp_path))
    assert "verdict: " in shown
    assert "reading digits: " in shown, "the steps of a stage"
    assert "TledgeWarning" in shown, "the warnings of a stage"
