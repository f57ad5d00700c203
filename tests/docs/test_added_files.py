"""The pages that add a file to tledge do so, in a copy of the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .pages import DOCS, run

pytestmark = pytest.mark.long  # it builds, exports and verifies in a copy of the checkout

ROOT = DOCS.parent


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is imported and tested, which Python finds before the real one."""
    for name in ("tledge", "targets", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # Contract tests export every format, which takes minutes: here they are found and not run.
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    return tmp_path


@pytest.mark.parametrize("name", ["add-a-format", "add-a-runtime"])
def test_a_page_that_adds_a_file_runs_from_its_first_block_to_its_last(name: str, checkout: Path) -> None:
    run(DOCS / "how-to" / f"{name}.md", checkout)
