"""The whole line on the embedded default."""

from __future__ import annotations

from tledge.records import Report
from tledge.run import Run


def test_the_embedded_default_reaches_93_percent_on_the_digits_test_split(built: Run) -> None:
    assert built.manifest.metrics["test"].accuracy >= 0.93


def test_verify_has_a_row_for_each_of_six_formats(report: Report) -> None:
    assert {row.format for row in report.rows} == {
        "tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8", "onnx-float32", "onnx-int8",
    }  # fmt: skip
