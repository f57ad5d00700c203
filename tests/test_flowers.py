"""The whole line on real photos and a real ImageNet backbone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tledge import build, export, verify
from tledge.verification.measurement import Wanted


@pytest.mark.usefixtures("real_data")
def test_flowers_reach_89_percent_and_artifacts_stay_close_to_the_original(tmp_path: Path) -> None:
    run = build("tf_flowers", artifacts=tmp_path)
    assert run.manifest.metrics["test"].accuracy >= 0.89
    export(run, ["tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"])
    drifts = {row.format: row.drift for row in verify(run, wanted=Wanted(accuracy_only=True)).rows}
    for name in ("tflite-float32", "onnx-float32"):
        drift = drifts[name]
        assert drift is not None
        assert drift.agreement == 1.0, name
    for name in ("tflite-int8", "onnx-int8"):
        drift = drifts[name]
        assert drift is not None
        assert drift.accuracy_drop_points <= 1.0, name
