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
    return tmp_path


def test_the_page_of_a_runtime_runs_with_its_contract_tests(checkout: Path) -> None:
    run(DOCS / "how-to" / "add-a-runtime.md", checkout)


def test_the_page_of_a_format_runs_and_its_contract_tests_are_found(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The contract tests export every format, which takes minutes: the suite itself runs them on every format there is.
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    run(DOCS / "how-to" / "add-a-format.md", checkout)
