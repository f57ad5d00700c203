"""Targets of a test's own, and a run that is verified in a moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import two_classes

from tledge.run import Run, open_run
from tledge.verification import targets


@pytest.fixture(scope="session")
def small_exported(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Dark and light noise on 48 features: float32 files, ONNX int8. Read only: take ``small_copy`` to change something."""
    from tledge.stages import export
    from tledge.training.build import build
    from tledge.training.recipe import Recipe

    folder = tmp_path_factory.mktemp("small")
    photos, recipe = str(two_classes(folder / "photos")), Recipe()
    run = build(photos, backbone=str(tiny_backbone), recipe=recipe, run="small", artifacts=folder / "artifacts")
    export(run, ["tflite-float32", "onnx-float32", "onnx-int8"])
    return run


@pytest.fixture
def small_copy(small_exported: Run, tmp_path: Path) -> Run:
    """A copy of it, alone in its artifacts folder ``tmp_path/artifacts``."""
    root = tmp_path / "artifacts"
    shutil.copytree(small_exported.folder, root / "small")
    (root / "latest").write_text("small\n")
    return open_run(root, "small")


@pytest.fixture
def own_target(tmp_path: Path) -> Callable[..., Path]:
    """A TOML file like the cpu target, generous but for the limits and runtimes given."""

    def write(runtimes: str = '["litert", "onnxruntime"]', **limits: float) -> Path:
        generous = {
            "max_accuracy_drop_points": 100.0,
            "max_p95_latency_ms": 60_000.0,
            "max_size_mb": 1000.0,
            "max_memory_mb": 8000.0,
        }
        assert set(generous) == set(targets.Budget.model_fields)
        lines = ['description = "a test"', "threads = 1", f"runtimes = {runtimes}", "architectures = []", "[budget]"]
        lines += [f"{name} = {value}" for name, value in {**generous, **limits}.items()]
        lines += ["[basis]", *(f'{name} = "guess"' for name in generous)]
        path = tmp_path / "own.toml"
        path.write_text("\n".join(lines))
        return path

    return write
