"""verify: rows, verdicts and exit codes, on real artifacts that were broken on purpose."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from small_models import replace_artifact, rewrite_onnx, rewrite_tflite, tflite

from tledge.errors import ArtifactError
from tledge.exporters import formats
from tledge.exporters.options import Options
from tledge.machine import adds_int8_products_in_16_bits, this_machine
from tledge.records import Report
from tledge.reporting.regressions import judge_reports
from tledge.reporting.wording import gate
from tledge.run import Run
from tledge.runtimes import runtimes, runtimes_for
from tledge.stages import export, verify
from tledge.verification import targets
from tledge.verification.measurement import Wanted

Tledge = Callable[..., Any]
OwnTarget = Callable[..., Path]


def _report(run: Run) -> Report:
    return Report.load(run.reports() / "report.json", "Verify again.")


def _keep(run: Run, *format_names: str) -> None:
    """Remove all other artifacts, which only cost time."""
    for name in set(run.exports()) - set(format_names):
        shutil.rmtree(run.export_folder(name))


def test_every_artifact_has_a_row_on_every_runtime_that_runs_it(report: Report, exported: Any) -> None:
    assert {(row.format, row.runtime) for row in report.rows} == {
        (name, runtime.name) for name in exported[1] for runtime in runtimes_for(Path(formats()[name].file))
    }
    assert {row.runtime for row in report.rows} == set(runtimes())


@pytest.mark.parametrize(
    ("flags", "does"),
    [
        (["avx2", "fma"], True),
        (["avx2", "avx512f", "avx512bw"], True),
        (["avx2", "avx_vnni"], False),
        (["avx2", "avx512bw", "avx512_vnni"], False),
        (["asimd", "asimddp"], False),
        ([], False),
    ],
)
def test_which_cpus_add_products_in_16_bits_is_told_by_their_flags(flags: list[str], does: bool) -> None:
    assert adds_int8_products_in_16_bits(this_machine().model_copy(update={"cpu_flags": flags})) == does


@pytest.mark.long  # it exports and verifies several times
def test_int8_weights_in_onnx_are_warned_of_on_a_cpu_that_adds_their_products_in_16_bits(
    run_copy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep(run_copy, "onnx-int8", "onnx-int8-qat", "onnx-dynamic", "onnx-float32", "tflite-int8")
    export(run_copy, ["onnx-int8"], options=Options(int8_saturates=False))
    for flags, told in (
        (["avx2"], "which has no VNNI"),
        (["avx2", "avx_vnni"], "where it answers otherwise than here"),
    ):
        machine = this_machine().model_copy(update={"cpu_flags": flags})
        monkeypatch.setattr("tledge.verification.verify.this_machine", lambda machine=machine: machine)
        found = {row.format: row.warnings for row in verify(run_copy, wanted=Wanted(accuracy_only=True)).rows}
        assert [name for name, warnings in found.items() if warnings] == ["onnx-int8"]
        assert told in found["onnx-int8"][0]


GATES = {"runs", "promise", "contract", *targets.Budget.model_fields}


def test_every_row_is_measured_on_every_test_photo(report: Report, built: Run) -> None:
    photos = built.manifest.splits["test"].num_photos
    assert report.num_test_photos == photos
    for row in report.rows:
        assert row.error is None
        assert row.drift is not None
        assert row.latency is not None
        assert row.drift.num_photos == photos
        assert (row.latency.rounds, row.latency.runs) == (10, 200)  # the quick protocol
        assert row.latency.num_threads == report.target.threads
        assert 0 < row.latency.p50_ms <= row.latency.p90_ms <= row.latency.p95_ms <= row.latency.p99_ms
        assert row.latency.load_ms > 0
        assert row.latency.first_inference_ms > 0
        assert row.peak_memory_mb is not None
        assert 10 < row.peak_memory_mb < 1000
        assert {check.name for check in row.checks} == GATES


def test_every_row_has_its_answers_photo_by_photo_and_the_speed_of_the_machine(report: Report) -> None:
    for row in report.rows:
        assert row.answers
        assert row.drift
        assert row.latency
        assert len(row.answers.wrong) == round((1 - row.drift.accuracy) * row.drift.num_photos)
        assert row.latency.reference_ms
    again = judge_reports(report, report, ["accuracy", "agreement", "size"])
    assert again.gate.verdict == "passed"


def test_float_rows_agree_with_the_original_on_every_photo(report: Report) -> None:
    for row in report.rows:
        if formats()[row.format].promise in ("float32", "float16 weights"):
            assert row.drift is not None
            assert row.drift.agreement == 1.0


def test_the_original_on_this_cpu_agrees_with_its_reference(report: Report, built: Run) -> None:
    assert report.original.accuracy == pytest.approx(built.manifest.metrics["test"].accuracy)
    assert report.original.cpu_drift is not None
    assert report.original.cpu_drift.agreement == 1.0
    assert report.original.cpu_drift.max_abs_probability_difference < 1e-4
    assert report.original.cpu_drift.mean_logit_cosine == pytest.approx(1.0, abs=1e-6)
    assert report.original.cpu_latency is not None
    assert report.original.cpu_latency.runs == 200


def test_every_artifact_is_compared_with_its_float_artifact_and_the_original(report: Report) -> None:
    floats = {"litert": "tflite-float32 on litert", "onnxruntime": "onnx-float32 on onnxruntime"}
    for row in report.rows:
        expected = {"original"} | ({floats[row.runtime]} - {row.artifact})
        assert {one.against for one in row.speedups} == expected
        for one in row.speedups:
            assert one.ratio_interval.low <= one.ratio <= one.ratio_interval.high
    assert [floor.num_threads for floor in report.noise_floors] == [report.target.threads]


def test_the_loss_of_every_artifact_is_taken_apart(report: Report) -> None:
    by_artifact = {
        row.artifact: [s.step for s in report.attribution if s.artifact == row.artifact] for row in report.rows
    }
    for name, found in by_artifact.items():
        first = "conversion" if "float32" in name else "quantization"
        assert found == [first, *["kernels"] * (2 if "litert" in name else 3)], name
    assert [step.artifact for step in report.attribution if step.step == "device"] == ["all"]
    assert all(step.agreement is not None for step in report.attribution)


def test_flipped_photos_are_those_that_an_artifact_answers_otherwise(report: Report) -> None:
    flips = {row.artifact: row.drift.flips for row in report.rows if row.drift}
    for name, counted in flips.items():
        shown = [photo for photo in report.flipped_photos if name in {answer.artifact for answer in photo.answers}]
        assert len(shown) == counted.right_to_wrong + counted.wrong_to_right + counted.wrong_to_wrong
    assert report.num_flipped_photos == len(report.flipped_photos)


def test_the_best_artifact_keeps_every_budget_and_each_other_one_has_a_reason(report: Report) -> None:
    assert report.choice.best in {row.artifact for row in report.rows if row.verdict != "failed"}
    assert {lost.artifact for lost in report.choice.others} == {r.artifact for r in report.rows} - {report.choice.best}
    assert all(lost.reason for lost in report.choice.others)


def test_the_report_is_read_back_as_it_was_written(small_copy: Run) -> None:
    assert verify(small_copy, wanted=Wanted(accuracy_only=True)) == _report(small_copy)


def test_an_edited_report_is_refused(report: Report, verified: Run, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    text = (verified.reports() / "report.json").read_text()
    path.write_text(text.replace('"verdict": "', '"verdict":  "', 1))
    assert Report.load(path, "") == report  # white space is not content
    agreement = json.dumps(report.rows[0].drift.agreement if report.rows[0].drift else None)
    path.write_text(text.replace(f'"agreement": {agreement}', '"agreement": 0.123', 1))
    with pytest.raises(ArtifactError, match=r"changed since tledge wrote it.*Verify again"):
        Report.load(path, "Verify again.")
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ArtifactError, match="not a whole JSON record"):
        Report.load(path, "Verify again.")


def _nan_onnx(data: bytes) -> bytes:
    def change(model: Any) -> None:
        # The bias of the head: every answer is then NaN.
        (gemm,) = [node for node in model.graph.node if node.op_type in ("Gemm", "Add", "MatMul")][-1:]
        for tensor in model.graph.initializer:
            if tensor.name == gemm.input[-1]:
                values = numpy_helper.to_array(tensor)
                assert values.dtype == np.float32
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
                return
        raise AssertionError("no bias found")

    return rewrite_onnx(data, change)


def _nan_tflite(data: bytes) -> bytes:
    def change(model: Any) -> None:
        (graph,) = model.subgraphs
        from ai_edge_litert import schema_py_generated as schema

        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
                buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
                count = len(bytes(buffer.data)) // 4
                buffer.data = np.frombuffer(np.full(count, np.nan, np.float32).tobytes(), np.uint8)
                return
        raise AssertionError("no fully connected operator found")

    return rewrite_tflite(data, change)


def test_artifacts_that_break_fail_their_rows_and_the_others_are_measured(
    run_copy: Run, tledge: Tledge, own_target: OwnTarget
) -> None:
    def data_of(name: str) -> bytes:
        return (run_copy.export_folder(name) / formats()[name].file).read_bytes()

    broken = ("onnx-float32", "tflite-float32"), ("tflite-float16", "tflite-dynamic", "onnx-int8")
    _keep(run_copy, *broken[0], *broken[1], "tflite-int8")
    replace_artifact(run_copy, "onnx-float32", _nan_onnx(data_of("onnx-float32")))
    replace_artifact(run_copy, "tflite-float32", _nan_tflite(data_of("tflite-float32")))
    # The native reader follows offsets out of the file.
    replace_artifact(run_copy, "tflite-float16", data_of("tflite-float16")[:3000])
    replace_artifact(run_copy, "tflite-dynamic", tflite(float_input=False))  # 32 x 32 pixels, and the run has others
    replace_artifact(run_copy, "onnx-int8", b"not a model")
    ended = tledge("verify", "--protocol", "quick", "--target", own_target(), "--artifacts", run_copy.folder.parent)
    assert ended.code == 1
    assert "NaN" in ended.out
    rows = {row.format: row for row in _report(run_copy).rows}
    photos = run_copy.manifest.splits["test"].num_photos
    no_numbers, no_models = broken
    for name in no_numbers:
        assert rows[name].error == f"the output holds NaN or infinity on {photos} of {photos} photos"
    for name in no_models:
        assert rows[name].latency is None
        assert rows[name].error
    markdown = (run_copy.reports() / "report.md").read_text()
    for name in (*no_numbers, *no_models):
        assert (rows[name].verdict, rows[name].drift) == ("failed", None)
        assert f"| {name} |" in markdown
    assert "NaN" in markdown
    assert (rows["tflite-int8"].verdict, rows["tflite-int8"].error) == ("certified", None)  # the budget is 100 points
    assert _report(run_copy).verdict == "failed"


def test_limits_that_are_not_kept_are_exit_code_1_and_named(
    small_copy: Run, tledge: Tledge, own_target: OwnTarget
) -> None:
    limits = {"max_size_mb": 0.001, "max_p95_latency_ms": 0.0001, "max_memory_mb": 0.5}
    target = own_target('["onnxruntime"]', **limits)
    root = small_copy.folder.parent
    wanted = ("--target", target, "--format", "onnx-float32", "--protocol", "quick")
    ended = tledge("verify", *wanted, "--artifacts", root)
    assert ended.code == 1
    for name in limits:
        assert f"onnx-float32: {gate(name)} failed" in ended.out
    (row,) = _report(small_copy).rows  # only the named artifact
    assert {check.name for check in row.checks if check.verdict == "failed"} == set(limits)


def test_a_target_that_runs_none_of_the_artifacts_is_exit_code_2(
    run_copy: Run, tledge: Tledge, own_target: OwnTarget
) -> None:
    target, root = own_target('["onnxruntime"]'), run_copy.folder.parent
    ended = tledge("verify", "--target", target, "--format", "tflite-int8", "--artifacts", root)
    assert ended.code == 2
    assert "runs onnxruntime, and no artifact of run digits is for them" in ended.err


@pytest.mark.long
@pytest.mark.skipif(platform.machine() == "aarch64", reason="on the board's own architecture it may be judged")
def test_a_board_far_away_is_never_said_to_have_passed_latency_or_memory(small_copy: Run, tledge: Tledge) -> None:
    wanted = ("--format", "tflite-float32", "--protocol", "quick")
    ended = tledge("verify", *wanted, "--target", "raspberry-pi-4", "--artifacts", small_copy.folder.parent)
    assert ended.code == 0
    (row,) = _report(small_copy).rows
    found = {check.name: check.verdict for check in row.checks}
    assert found["max_p95_latency_ms"] == found["max_memory_mb"] == "not judged"
    assert found["max_accuracy_drop_points"] in ("passed", "certified")
    assert found["max_size_mb"] == "passed"
    assert "measured on" in ended.out


def test_verify_before_export_is_exit_code_2_and_names_the_command(run_copy: Run, tledge: Tledge) -> None:
    shutil.rmtree(run_copy.folder / "exports")
    ended = tledge("verify", "--artifacts", run_copy.folder.parent)
    assert ended.code == 2
    assert "tledge export --run digits" in ended.err


def test_verify_before_build_is_exit_code_2_and_names_the_command(tmp_path: Path, tledge: Tledge) -> None:
    ended = tledge("verify", "--artifacts", tmp_path)
    assert ended.code == 2
    assert "tledge build" in ended.err


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("--format", "tflite-int9"), "tflite-int8"),
        (("--target", "cpu-single-cor"), "cpu-single-core"),
        (("--run", "digit"), "digits"),
    ],
)
def test_an_unknown_name_offers_the_nearest_and_is_exit_code_2(
    run_copy: Run, tledge: Tledge, arguments: tuple[str, ...], nearest: str
) -> None:
    ended = tledge("verify", *arguments, "--artifacts", run_copy.folder.parent)
    assert ended.code == 2
    assert f"Did you mean '{nearest}'?" in ended.err


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing"])
def test_a_damaged_artifact_is_a_failed_row_that_says_how_to_make_it_again(
    run_copy: Run, tledge: Tledge, own_target: OwnTarget, damage: str
) -> None:
    _keep(run_copy, "tflite-int8", "tflite-float32")
    path = run_copy.export_folder("tflite-int8") / "model.tflite"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(
            data[:middle] if damage == "cut short" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        )
    ended = tledge("verify", "--accuracy-only", "--target", own_target(), "--artifacts", run_copy.folder.parent)
    assert ended.code == 1
    rows = {row.format: row for row in _report(run_copy).rows}
    assert rows["tflite-float32"].verdict != "failed"
    reason = rows["tflite-int8"].error
    assert reason is not None
    assert "model.tflite" in reason
    assert "Run tledge export --run digits --format tflite-int8 again" in reason
    assert "--format tflite-int8 again" in ended.out.replace("\n", " ")


@pytest.mark.parametrize("file", ["reference.npz", "splits.csv", "manifest.json", "model/variables/variables.index"])
def test_a_changed_file_of_the_run_is_exit_code_3_and_named(run_copy: Run, tledge: Tledge, file: str) -> None:
    path = run_copy.folder / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    ended = tledge("verify", "--artifacts", run_copy.folder.parent)
    assert ended.code == 3
    assert file in ended.err


def test_the_answers_judged_are_the_artifacts_own(run_copy: Run, tledge: Tledge, own_target: OwnTarget) -> None:
    """An artifact that always says the last class has that class's accuracy, and not the original's."""
    labels = run_copy.manifest.labels
    data = (run_copy.export_folder("onnx-float32") / "model.onnx").read_bytes()

    def change(model: Any) -> None:
        (gemm,) = [node for node in model.graph.node if node.op_type in ("Gemm", "Add", "MatMul")][-1:]
        for tensor in model.graph.initializer:
            if tensor.name == gemm.input[-1]:
                bias = np.where(np.arange(len(labels)) == len(labels) - 1, 1000, 0).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))

    _keep(run_copy, "onnx-float32")
    replace_artifact(run_copy, "onnx-float32", rewrite_onnx(data, change))
    assert (
        tledge("verify", "--accuracy-only", "--target", own_target(), "--artifacts", run_copy.folder.parent).code == 0
    )
    (row,) = _report(run_copy).rows
    split = run_copy.manifest.splits["test"]
    assert row.drift is not None
    assert row.drift.accuracy == pytest.approx(split.class_counts[labels[-1]] / split.num_photos)


def test_an_artifact_without_its_record_is_a_failed_row_and_not_left_out(run_copy: Run, tledge: Tledge) -> None:
    _keep(run_copy, "tflite-int8")
    (run_copy.export_folder("tflite-int8") / "export.json").unlink()
    assert tledge("verify", "--accuracy-only", "--artifacts", run_copy.folder.parent).code == 1
    (row,) = _report(run_copy).rows
    assert (row.format, row.verdict) == ("tflite-int8", "failed")
    assert "export.json" in (row.error or "")


def test_an_artifact_under_another_formats_name_is_a_failed_row(run_copy: Run, tledge: Tledge) -> None:
    _keep(run_copy, "tflite-float32")
    shutil.copytree(run_copy.export_folder("tflite-float32"), run_copy.export_folder("tflite-int8"))
    assert tledge("verify", "--accuracy-only", "--artifacts", run_copy.folder.parent).code == 1
    rows = {row.format: row for row in _report(run_copy).rows}
    assert "its record is of tflite-float32" in (rows["tflite-int8"].error or "")
    assert rows["tflite-float32"].error is None


def test_a_damaged_artifact_does_not_stop_the_one_that_is_asked_for(run_copy: Run) -> None:
    (run_copy.export_folder("onnx-int8") / "model.onnx").write_bytes(b"")
    assert list(run_copy.exports(["tflite-int8"])) == ["tflite-int8"]
    with pytest.raises(ArtifactError, match="onnx-int8"):
        run_copy.exports()
