"""Targets of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tledge.verification import targets


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
