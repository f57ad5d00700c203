"""Each kind of file with each kind of network is imported, exported and verified: nothing of its answers is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tledge.datasets.run_photos import members
from tledge.importing.stage import import_model
from tledge.records import Drift
from tledge.run import open_run
from tledge.stages import export, verify
from tledge.verification.measurement import Wanted

from .matrix_models import BODIES, TAKES, write_all

# The file's name of each kind, and the network that is also exported to int8: one whose layers all have fitted weights.
SOURCES = {
    "Keras 3": ("{}.keras", "depthwise"),
    "HDF5 of tf_keras": ("{}.h5", "functional"),
    "SavedModel of tf_keras": ("{}", "nested"),
    "ONNX of tf2onnx": ("{}-tf2onnx.onnx", "functional"),
    "ONNX in PyTorch's style": ("{}-torch.onnx", "depthwise"),
}
# All of one network, which is then the only one that `make test` trains.
QUICK = {("Keras 3", "residual"), ("ONNX of tf2onnx", "residual"), ("ONNX in PyTorch's style", "residual")}
MOST_INT8_DROP_POINTS = 3.0
ROUNDING = 1e-4  # two ways through the same float32 layers


Files = Callable[[str], Path]


@pytest.fixture(scope="session")
def files(once: Callable[..., Path]) -> Files:
    """The folder of a network's five kinds of file. Read only."""
    return lambda name: once(f"matrix-{name}", lambda folder: write_all(name, folder))


@pytest.mark.parametrize(
    ("source", "name"),
    [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.long) for pair in product(SOURCES, BODIES)],
)
def test_a_network_answers_as_in_its_own_framework_in_every_float_format(
    files: Files, tmp_path: Path, source: str, name: str
) -> None:
    pattern, with_int8 = SOURCES[source]
    file = pattern.format(name)
    path = files(name) / file
    scale = TAKES[name] if file.endswith("-torch.onnx") else "scale=0..255"
    run = import_model(str(path), "digits", prepare=f"{scale} resize=squeeze order=rgb", run="one", artifacts=tmp_path)
    _assert_reference_is_the_frameworks(run.folder, [one.id for one in members(run, "test")], path)
    assert run.manifest.imported is not None
    assert run.manifest.imported.layers_unknown is None

    formats = ["tflite-float32", "onnx-float32", *(["tflite-int8"] if name == with_int8 else [])]
    records = {record.format: record for record in export(open_run(tmp_path, "one"), formats)}
    report = verify(open_run(tmp_path, "one"), wanted=Wanted(accuracy_only=True))
    drifts: dict[str, Drift | None] = {row.format: row.drift for row in report.rows}
    assert sorted(drifts) == sorted(formats)
    for form in ("tflite-float32", "onnx-float32"):
        drift = drifts[form]
        assert drift is not None
        assert (drift.agreement, drift.accuracy_drop_points) == (1.0, 0.0)
    if name == with_int8:
        assert not str(records["tflite-int8"].options["fitting"]).startswith("none")
        drift = drifts["tflite-int8"]
        assert drift is not None
        assert drift.accuracy_drop_points <= MOST_INT8_DROP_POINTS


def _assert_reference_is_the_frameworks(run: Path, ids: list[str], file: Path) -> None:
    rows = [int(one.partition("/")[2]) for one in ids]
    expected = np.load(file.with_name(f"{file.name}.answers.npy"))[rows]
    with np.load(run / "reference.npz", allow_pickle=False) as stored:
        logits = stored["logits"]
    if np.allclose(expected.sum(axis=1), 1, atol=1e-3) and (expected >= 0).all():
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), expected, atol=ROUNDING)
    else:
        np.testing.assert_allclose(logits, expected, atol=ROUNDING * np.ptp(expected))
    np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))
