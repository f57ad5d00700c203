"""The whole line on the embedded default."""

from __future__ import annotations

import pytest

from tledge.exporters import formats
from tledge.records import Report
from tledge.run import Run


def test_the_embedded_default_reaches_93_percent_on_the_digits_test_split(built: Run) -> None:
    assert built.manifest.metrics["test"].accuracy >= 0.93


@pytest.mark.long  # some formats train
def test_verify_has_a_row_for_each_format(report: Report) -> None:
    assert {row.format for row in report.rows} == set(formats())
