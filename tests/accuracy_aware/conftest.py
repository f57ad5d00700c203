"""A small run whose integer artifacts answer as the original does, and one that integers really hurt."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from small_models import with_files

from tledge.records import ExportRecord
from tledge.run import Run, open_run

BUDGET = 2.5  # points: 295 photos show it where three or four of them are lost, and equal answers show 1.3
SAMPLES = 48  # enough for a network of this size
WEIGHTED = ("c1", "c3", "c5", "f6", "logits")  # layers of LeNet, each with what reads it behind it


def tried(record: ExportRecord) -> list[str]:
    """The formats of the files that a search made, in their order."""
    assert record.search
    return [step.format for step in record.search.steps]


@pytest.fixture
def copied(lenet: Run, tmp_path: Path) -> Callable[..., Run]:
    """A copy of the run, alone in its artifacts folder, in which files have another content."""
    return lambda files=None: _copy(lenet, tmp_path / "artifacts", files or {})


@pytest.fixture(scope="session")
def planted(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same network, whose channels after the second convolution are of very different size."""
    return _copy(lenet, tmp_path_factory.mktemp("planted"), _spread(lenet, ["c3"]))


@pytest.fixture(scope="session")
def hopeless(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same between any two layers: whichever stay integer, they meet such channels."""
    return _copy(lenet, tmp_path_factory.mktemp("hopeless"), _spread(lenet, WEIGHTED[:-1]))


def _spread(run: Run, layers: Sequence[str]) -> dict[str, bytes]:
    """The run's weights, where the channels that these layers make are 30 times larger and 30 times smaller in turn.

    ReLU and maxima let a factor through, and the next layer takes it back, so that float answers stay as they were: one
    scale for all channels can't hold them, nor one for all inputs of the next layer's weights.
    """
    with np.load(run.folder / "network" / "weights.npz") as stored:
        weights = dict(stored)
    for maker, reader in itertools.pairwise(WEIGHTED):
        if maker in layers:
            kernel = weights[f"{reader}.kernel"]
            factors = np.where(np.arange(len(weights[f"{maker}.bias"])) % 2, 30.0, 1 / 30)
            by_channel = kernel.reshape(-1, len(factors), kernel.shape[-1])
            weights[f"{maker}.kernel"], weights[f"{maker}.bias"] = (
                (weights[f"{maker}.{kind}"] * factors).astype(np.float32) for kind in ("kernel", "bias")
            )
            weights[f"{reader}.kernel"] = (by_channel / factors[:, None]).reshape(kernel.shape).astype(np.float32)
    out = io.BytesIO()
    np.savez(out, **weights)
    return {"network/weights.npz": out.getvalue()}


def _copy(run: Run, root: Path, files: dict[str, bytes]) -> Run:
    shutil.copytree(run.folder, root / run.name)
    (root / "latest").write_text(f"{run.name}\n")
    return with_files(open_run(root), files)
