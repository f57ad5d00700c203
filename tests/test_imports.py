"""Imports go one way, and the heavy ones stay inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from heavy_imports import HEAVY

import tledge

PACKAGE = Path(tledge.__file__).parent
LAYERS = [
    {"errors"},
    {
        "run",
        "records",
        "cache",
        "preprocessing",
        "files",
        "progress",
        "machine",
        "network",
        "tensorflow_setup",
        "confinement",
        "saved_models",
        "search_paths",
        "locks",
        "doubts",
        "room",
        "int8_pairs",
        "printable",
        "near_copies",
        "ahead",
        "outputs",
        "photo_files",
        "pixel_range",
        "wide_pixels",
        "statistics",
    },
    {"runtimes"},
    {"workers"},
    {"datasets", "backbones", "bench", "audit", "classifier", "compression"},
    {"training", "exporters", "verification", "reporting"},
    {"inference", "accuracy_aware"},
    {"api"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
STAGES = LAYERS[5]
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
INNER = [path for path in MODULES if path.name not in ("__main__.py",) and path != Path("__init__.py")]


def _part(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return path.parts[0].removesuffix(".py")


def _imported(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported below a node; ``from a import b`` counts as a.b and as a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _parts_used(path: Path) -> set[str]:
    names = _imported(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))
    return {name.split(".")[1] for name in names if name.startswith("tledge.")} - {"__version__"}


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """The imports that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        only_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or only_for_types:
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from _outside_functions(node)


@pytest.mark.parametrize("path", INNER, ids=str)
def test_no_module_imports_from_a_layer_above_it(path: Path) -> None:
    mine = _part(path)
    assert mine in LEVEL, f"{path}: say in LAYERS which layer it belongs to"
    used = _parts_used(path)
    assert used <= LEVEL.keys(), f"{path} imports {used - LEVEL.keys()}, which have no layer"
    upward = {name for name in used if LEVEL[name] > LEVEL[mine]}
    assert not upward, f"{path} imports upward: {upward}"


@pytest.mark.parametrize("path", [path for path in INNER if _part(path) in STAGES], ids=str)
def test_stages_do_not_import_each_other(path: Path) -> None:
    assert not (_parts_used(path) & STAGES) - {_part(path)}


@pytest.mark.parametrize("path", [path for path in INNER if _part(path) == "exporters"], ids=str)
def test_exporters_never_import_runtimes(path: Path) -> None:
    assert "runtimes" not in _parts_used(path)


@pytest.mark.parametrize("path", [path for path in INNER if _part(path) in ("runtimes", "workers")], ids=str)
def test_runtimes_and_workers_never_import_tensorflow(path: Path) -> None:
    if path.name == "original.py":  # whose runtime TensorFlow is
        return
    names = {name.split(".")[0] for name in _imported(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))}
    assert not names & {"tensorflow", "tf_keras", "tensorflow_hub", "tensorflow_datasets"}
    assert "tensorflow_setup" not in _parts_used(path)


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
