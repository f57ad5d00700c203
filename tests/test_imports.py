"""Imports go one way, and the heavy ones stay inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from heavy_imports import HEAVY

import tledge

PACKAGE = Path(tledge.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def _imported(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported below a node; ``from a import b`` counts as a.b and as a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """The imports that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        only_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or only_for_types:
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from _outside_functions(node)


def test_imports_go_one_way_and_in_no_circle() -> None:
    """The contracts of import-linter in pyproject.toml: layers, circles, and who never imports whom."""
    linter = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run(
        [linter, "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 kept, 0 broken" in ended.stdout


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    at_module_level = {name.split(".")[0] for node in _outside_functions(tree) for name in _imported(node)}
    assert not at_module_level & HEAVY


def test_the_walk_sees_imports_wherever_they_stand() -> None:
    tree = ast.parse(
        "class A:\n    import onnx\ntry:\n    import sklearn\nexcept OSError:\n    from tledge import cli\n"
    )
    found = {name for node in _outside_functions(tree) for name in _imported(node)}
    assert {"onnx", "sklearn", "tledge.cli"} <= found
