"""Small runs on backbones of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_models import hub_module, two_classes

from tledge.datasets.run_photos import load_split
from tledge.progress import Silent
from tledge.run import Run

Build = Callable[[str, Callable[[Any], Any]], Run]


@pytest.fixture
def answers_to_test_photos(answers_of: Callable[..., np.ndarray]) -> Callable[[Run, str], np.ndarray]:
    """Answer a run's test photos with its artifact of a format: float32 (N, C)."""

    def answer(run: Run, name: str) -> np.ndarray:
        path = run.export_folder(name) / run.export_record(name).file
        return answers_of(path, load_split(run, "test", Silent()).pixels)

    return answer


@pytest.fixture(scope="session")
def built_on(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build a run of noise photos on a small module whose last step is ``body``."""
    from tledge.training.build import build
    from tledge.training.recipe import Recipe

    root = tmp_path_factory.mktemp("small")
    photos = two_classes(root / "photos")
    recipe = Recipe()

    def make(name: str, body: Callable[[Any], Any]) -> Run:
        module = hub_module(root / f"module-{name}", body)
        return build(str(photos), backbone=str(module), recipe=recipe, run=name, artifacts=root / name)

    return make


@pytest.fixture(scope="session")
def small_run(built_on: Build) -> Run:
    """A run that every format can hold. Read only."""
    return built_on("plain", lambda features: features)
