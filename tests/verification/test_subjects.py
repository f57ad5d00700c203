"""What is verified of a run: what the target runs, each on its runtimes; partners only to compare with."""

from __future__ import annotations

import pytest

from tledge.errors import InputError
from tledge.run import Run
from tledge.runtimes import runtime
from tledge.verification.subjects import partners_of, subjects_of
from tledge.verification.verify import verify_artifacts

LITERT = [runtime("litert")]
BOTH = [*LITERT, runtime("onnxruntime")]


@pytest.mark.parametrize("content", [b"", None])
def test_a_broken_artifact_of_a_runtime_that_the_target_lacks_is_left_out(run_copy: Run, content: bytes | None) -> None:
    folder = run_copy.export_folder("onnx-int8")
    if content is None:
        (folder / "export.json").unlink()
    else:
        (folder / "model.onnx").write_bytes(content)
    subjects, warnings = subjects_of(run_copy, [], LITERT, "own")
    assert all(subject.path.suffix == ".tflite" for subject in subjects)
    assert "onnx-int8" in warnings[0]
    both, _ = subjects_of(run_copy, [], BOTH, "own")
    assert [subject.format for subject in both if subject.problem] == ["onnx-int8"]


def test_an_artifact_without_its_file_is_a_broken_one_on_every_target(run_copy: Run) -> None:
    (run_copy.export_folder("onnx-int8") / "model.onnx").unlink()
    subjects, _ = subjects_of(run_copy, ["onnx-int8"], LITERT, "own")
    assert subjects[0].problem


def test_the_partner_of_an_artifact_is_the_float_one_of_its_runtime(run_copy: Run) -> None:
    subjects, _ = subjects_of(run_copy, ["onnx-int8"], BOTH, "own")
    assert [(one.format, one.is_judged) for one in partners_of(run_copy, subjects)] == [("onnx-float32", False)]
    subjects, _ = subjects_of(run_copy, [], BOTH, "own")
    assert partners_of(run_copy, subjects) == []


def test_a_partner_is_compared_with_and_not_judged(small_exported: Run) -> None:
    from tledge.verification.measurement import Wanted

    report = verify_artifacts(small_exported, format_names=["onnx-int8"], wanted=Wanted(protocol="quick", layers=True))
    (row,) = report.rows
    assert {speedup.against for speedup in row.speedups} == {"onnx-float32 on onnxruntime", "original"}
    assert {step.artifact for step in report.attribution} == {"all", "onnx-int8 on onnxruntime"}
    assert all(step.accuracy_drop_points is not None for step in report.attribution)
    assert report.layers[0].layers


def test_a_target_that_runs_nothing_of_the_run_says_so(run_copy: Run) -> None:
    with pytest.raises(InputError, match="no artifact of run digits is for them"):
        subjects_of(run_copy, ["onnx-int8"], LITERT, "own")
