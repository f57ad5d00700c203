"""The pages that add a file to tledge do so, in a copy of the checkout."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .pages import DOCS, Block, blocks_of, run, run_blocks

pytestmark = pytest.mark.long  # it builds, exports and verifies in a copy of the checkout

ROOT = DOCS.parent
HOW_TO = DOCS / "how-to"
LAYER_KIND, SOURCE = HOW_TO / "add-a-layer-kind.md", HOW_TO / "add-a-backbone-source.md"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is imported and tested, which Python finds before the real one."""
    for name in ("tledge", "targets", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def _files_and_contract(page: Path) -> list[Block]:
    """The blocks of a page without what it adds to a file that exists, and without commands other than those of pytest."""
    return [
        block for block in blocks_of(page) if (block.title and not block.is_added) or "python -m pytest" in block.text
    ]


def test_the_page_of_a_runtime_runs_with_its_contract_tests(checkout: Path) -> None:
    run(HOW_TO / "add-a-runtime.md", checkout)


def test_the_page_of_a_format_runs_with_its_contract_tests(checkout: Path) -> None:
    run(HOW_TO / "add-a-format.md", checkout)


def test_the_page_of_a_kind_of_layer_runs_with_its_contract_test(checkout: Path) -> None:
    run(LAYER_KIND, checkout)


def test_the_page_of_a_backbone_source_runs_with_its_contract_test(checkout: Path) -> None:
    run(SOURCE, checkout)


@pytest.mark.parametrize(
    ("page", "name"),
    [(LAYER_KIND, "test_every_kind_has_an_example"), (SOURCE, "test_every_source_has_an_example_here")],
    ids=["layer kind", "source"],
)
def test_the_contract_test_that_a_page_shows_fails_until_the_example_is_there(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, page: Path, name: str
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--exitfirst")
    with pytest.raises(AssertionError, match=f"FAILED .*::{name}"):
        run_blocks(_files_and_contract(page), checkout, page.name)


def test_the_contract_test_of_a_kind_of_layer_shows_the_operators_that_its_row_does_not_know(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, known = LAYER_KIND.read_text(encoding="utf-8"), {"AVERAGE_POOL_2D", "AveragePool"}
    assert '`("?",)`' in page
    unknown = checkout / LAYER_KIND.name
    unknown.write_text(re.sub("|".join(f'"{name}"' for name in known), '"?"', page), encoding="utf-8")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--maxfail=2")
    with pytest.raises(AssertionError) as caught:
        run(unknown, checkout)
    assert {name for name in known if f"'{name}': 1" in str(caught.value)} == known
