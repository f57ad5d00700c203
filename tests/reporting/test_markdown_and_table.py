"""The report for people: nothing in it is left out, and nothing in it breaks it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tledge.records import Check, Report, Row
from tledge.reporting import markdown
from tledge.reporting.table import table


def _shown(report: Report) -> str:
    out = io.StringIO()
    Console(file=out, width=220).print(table(report, 220))
    return out.getvalue()


def _failed(row: Row, error: str) -> Row:
    check = Check(name="max_memory_mb", limit=1.0, measured=None, verdict="failed", reason="not measured")
    nothing = {"drift": None, "latency": None, "load_ms": None, "peak_memory_mb": None}
    return row.model_copy(update={**nothing, "error": error, "checks": [check], "verdict": "failed"})


def test_every_artifact_and_the_original_are_in_the_markdown_and_in_the_table(report: Report) -> None:
    for text in (markdown.render(report), _shown(report)):
        for row in report.rows:
            assert row.drift is not None
            (line,) = [line for line in text.splitlines() if f"{row.format} " in line and row.runtime in line]
            assert f"{100 * row.drift.accuracy:.2f}" in line
            assert f"{row.drift.accuracy_drop_points:+.2f}" in line
            assert f"{row.size_bytes / 1e6:.3f}" in line
            assert row.verdict in line
        assert report.target["name"] in text
        assert report.verdict in text


def test_the_markdown_says_what_was_measured_where_and_with_what(report: Report) -> None:
    text = markdown.render(report)
    assert report.machine.cpu in text
    assert report.manifest_sha256 in text
    assert report.tledge_version in text
    for name, version in report.library_versions.items():
        assert f"{name} {version}" in text


def test_every_row_of_the_markdown_table_has_the_same_number_of_cells(report: Report) -> None:
    broken = report.model_copy(update={"rows": [*report.rows, _failed(report.rows[0], "a | b\nc")]})
    lines = [line for line in markdown.render(broken).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(broken.rows)
    assert len({line.count("|") for line in lines}) == 1


def test_an_artifact_that_did_not_run_is_shown_with_its_error(report: Report) -> None:
    broken = report.model_copy(
        update={"rows": [_failed(report.rows[0], "ended by SIGSEGV [bold]odd[/bold]")], "verdict": "failed"}
    )
    for text in (markdown.render(broken), _shown(broken)):
        assert "ended by SIGSEGV [bold]odd[/bold]" in text
        assert "failed" in text


def test_a_limit_that_was_not_kept_is_named_with_both_numbers(report: Report) -> None:
    check = Check(name="max_size_mb", limit=0.25, measured=1.5, verdict="failed", reason="file size")
    row = report.rows[0].model_copy(update={"checks": [check], "verdict": "failed"})
    broken = report.model_copy(update={"rows": [row], "verdict": "failed"})
    assert "max_size_mb failed, 1.5 against 0.25" in markdown.render(broken)
    assert "max_size_mb 0.25, measured 1.500" in _shown(broken)


def test_what_was_not_judged_is_said_with_its_reason(report: Report) -> None:
    check = Check(name="max_memory_mb", limit=5.0, measured=1.5, verdict="not judged", reason="measured elsewhere")
    here = report.model_copy(update={"rows": [report.rows[0].model_copy(update={"checks": [check]})]})
    for text in (markdown.render(here), _shown(here)):
        assert "max_memory_mb not judged" in text
        assert "measured elsewhere" in text


@pytest.mark.parametrize("name", ["[/red].toml", "my[bold].toml"])
def test_a_target_whose_name_looks_like_markup_is_shown_as_it_is(report: Report, name: str) -> None:
    odd = report.model_copy(update={"target": {**report.target, "name": name}})
    assert name in _shown(odd)


def test_report_md_is_written_beside_report_json(report: Report, tmp_path: Path) -> None:
    markdown.write(report, tmp_path)
    assert (tmp_path / "report.md").read_text() == markdown.render(report)
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


@pytest.mark.parametrize("width", [80, 120, 150])
def test_a_terminal_of_any_usual_width_shows_every_figure_and_the_verdicts(report: Report, width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(table(report, width))
    shown = out.getvalue()
    assert "…" not in shown
    for heading in ("drop pt", "agree %", "p95 ms", "peak MB", "verdict"):
        assert heading in shown
    for row in report.rows:
        assert any(
            line.startswith(f"{row.format} ") and line.rstrip().endswith(row.verdict) for line in shown.splitlines()
        )
