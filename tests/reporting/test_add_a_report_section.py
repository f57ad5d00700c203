"""The how-to of a new section of the report, followed to the letter in a copy of the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long  # minutes in all

ROOT = Path(__file__).parents[2]
HOW_TO = Path("docs", "how-to", "add-a-report-section.md")
TESTS = Path("tests", "reporting")
FILES = ("memory.py", "memory.html.j2", "memory.md.j2")
ROW = "| `memory` | Memory | 75 | the peak memory of every artifact |\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the section that the how-to writes, and of what its contract test needs."""
    shutil.copytree(ROOT / "tledge", tmp_path / "tledge", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (HOW_TO, *(TESTS / name for name in ("__init__.py", "samples.py", "test_html.py", "test_sections.py"))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    blocks = re.findall(r"```(?:python|jinja)\n(.*?)```", (ROOT / HOW_TO).read_text(encoding="utf-8"), re.DOTALL)
    for name, text in zip(FILES, blocks, strict=True):
        (tmp_path / "tledge" / "reporting" / "sections" / name).write_text(text, encoding="utf-8")
    return tmp_path


def _contract(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contract test of the new section, run on the package in ``folder``."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / "test_sections.py"), "-k"]
    return subprocess.run(
        [*command, "memory or belongs or place"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_section_of_the_how_to_keeps_the_contract_once_it_is_listed(copy: Path) -> None:
    unlisted = _contract(copy)
    assert unlisted.returncode == 1
    assert re.findall(r"^FAILED \S+::(\S+)", unlisted.stdout, re.MULTILINE) == [
        "test_the_how_to_lists_the_section[memory]"
    ]
    listed = (copy / HOW_TO).read_text(encoding="utf-8").replace("| `attribution` |", f"{ROW}| `attribution` |")
    (copy / HOW_TO).write_text(listed, encoding="utf-8")
    outcome = _contract(copy)
    assert outcome.returncode == 0, outcome.stdout


def test_a_section_without_its_template_fails_the_contract(copy: Path) -> None:
    (copy / "tledge" / "reporting" / "sections" / "memory.md.j2").unlink()
    outcome = _contract(copy)
    assert "test_a_section_has_a_title_and_a_template_for_each_part[memory]" in outcome.stdout
    assert outcome.returncode == 1
