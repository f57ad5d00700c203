"""The report for a pull request and for a terminal: nothing in it is left out, and nothing in it breaks it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from reporting.samples import ONNX, sample_report
from tledge.records import Check, Report
from tledge.reporting import markdown
from tledge.reporting.sections.gates import against_limit
from tledge.reporting.sections.verdicts import findings
from tledge.reporting.table import table
from tledge.reporting.wording import short_names, signed, significant


def _shown(report: Report, width: int = 400) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table(report, width))
    return out.getvalue()


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_every_artifact_that_ran_stands_in_one_row_with_its_figures_and_its_verdict(show) -> None:
    report = sample_report()
    for row in report.rows[:-1]:
        assert row.drift and row.latency
        rows = [line for line in _unescaped(show(report)).splitlines() if re.match(rf"[| ]*{row.format} ", line)]
        (line,) = [line for line in rows if row.verdict in line]
        assert f"{100 * row.drift.accuracy:.2f} ({100 * row.drift.accuracy_interval.low:.1f}" in line
        assert signed(row.drift.accuracy_drop_points) in line
        assert f"{row.drift.mean_abs_probability_difference:.5f}" in line
        assert f"{row.size_bytes / 1e6:.3f}" in line
        assert f"{row.latency.p50_ms:.2f}" in line


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_an_artifact_that_did_not_run_is_named_with_its_error_and_nothing_in_it_is_markup(show) -> None:
    report = sample_report(error="ended by SIGSEGV [bold]odd[/bold] | `x` <b>\nsecond \x1b[31mline")
    text = show(report)
    assert "ended by SIGSEGV [bold]odd[/bold] | `x` <b> second \N{REPLACEMENT CHARACTER}[31mline" in _unescaped(text)
    assert "\x1b" not in text


def test_markdown_escapes_what_markdown_would_obey() -> None:
    assert r"\[bold\]odd\[/bold\] \| \`x\` \<b\>" in markdown.render(sample_report(error="[bold]odd[/bold] | `x` <b>"))


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_heading() -> None:
    text = markdown.render(sample_report(error="a | b\nc", labels=["a|b", "c", "d"]))
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert text.count("\n|---") >= 6  # artifacts, changed answers, worst classes, steps, layers, audit


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_an_int8_slower_than_float_and_the_best_artifact_and_why_are_said(show) -> None:
    text = _unescaped(show(sample_report()))
    assert "tflite-dynamic: slower than tflite-float32 on litert at 2 threads" in text
    assert re.search(r"[Bb]est.*tflite-int8.*the lowest p95 latency", text)
    assert "slower, 0.72x" in text
    assert "no difference" in text


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_the_verdict_names_quantized_artifacts_slower_than_float_unless_latency_counts_for_nothing(show) -> None:
    report = sample_report()
    assert f"{report.verdict} (tflite-dynamic is slower than float)" in _unescaped(show(report))
    elsewhere = [
        row.model_copy(update={"checks": [check.model_copy(update={"verdict": "not judged"}) for check in row.checks]})
        for row in report.rows
    ]
    assert "is slower than float)" not in _unescaped(show(report.model_copy(update={"rows": elsewhere})))


def test_the_terminal_says_why_each_artifact_that_kept_its_budgets_is_not_the_best() -> None:
    report = sample_report()
    shown = _shown(report)
    for lost in report.choice.others:
        (row,) = [row for row in report.rows if row.artifact == lost.artifact]
        assert (f"not {row.format}: {lost.reason}" in shown) == (row.verdict != "failed")


def test_warnings_that_were_said_while_measuring_are_not_said_again() -> None:
    report = sample_report()
    out = io.StringIO()
    Console(file=out, width=400).print(table(report, 400, is_warned=True))
    assert "these limits are guesses" in _shown(report)
    assert "these limits are guesses" not in out.getvalue()
    assert "slower than tflite-float32 on litert at 2 threads" in out.getvalue()  # of a row: nobody said it before


def test_the_markdown_names_the_classes_that_lost_most_of_each_artifact_and_no_more_than_five() -> None:
    report = sample_report(labels=[f"class {index}" for index in range(9)])
    text = markdown.render(report)
    block = text.split("## Classes that lost most")[1].split("##")[0]
    for row in report.rows[:-1]:
        assert row.drift
        drops = sorted((one.recall_drop_points or 0 for one in row.drift.per_class), reverse=True)
        lines = [line for line in block.splitlines() if line.startswith(f"| {row.format} |")]
        assert [line.split("|")[5].split()[0] for line in lines] == [signed(drop) for drop in drops[:5] if drop > 0]
        for line in lines:
            (one,) = [one for one in row.drift.per_class if f"| {one.label} |" in line]
            assert f"| {one.flips.right_to_wrong} | {one.flips.wrong_to_right} | {one.flips.wrong_to_wrong} |" in line
    assert "Classes that lost most" not in markdown.render(report.model_copy(update={"rows": report.rows[-1:]}))


def test_the_markdown_holds_the_tail_of_the_latency_the_noise_the_audit_and_what_the_cpu_can() -> None:
    text = _unescaped(markdown.render(sample_report()))
    assert "| p90 ms | p99 ms |" in text
    assert "At 2 threads, differences up to 3.0% are noise" in text
    assert "| tflite-int8 | 53 integer, 1 layout | 100.0% | 53 per-channel, 1 per-tensor |" in text
    assert "| onnx-int8 | the file could not be read |" in text
    assert "CPU flags avx2, fma, avx512_vnni; governor not told by the system" in text


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_gates_that_are_not_judged_for_one_reason_are_said_in_one_line(show) -> None:
    report = sample_report()
    why = "the artifact does not run"
    names = ("promise", "contract", "max_size_mb")
    checks = [Check(name=name, limit=None, measured=None, verdict="not judged", reason=why) for name in names]
    odd = report.model_copy(update={"rows": [report.rows[0].model_copy(update={"checks": checks})]})
    assert f"tflite-float32: format's promise, input contract, size not judged: {why}" in _unescaped(show(odd))


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_what_was_not_judged_is_said_once_for_all_artifacts_that_share_the_reason(show) -> None:
    lines = [line for line in _unescaped(show(sample_report())).splitlines() if "peak memory not judged" in line]
    assert len(lines) == 1
    assert "tflite-float32, tflite-float16, tflite-dynamic, tflite-int8, onnx-float32" in lines[0]
    assert "the target is aarch64" in lines[0]


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_a_limit_that_was_not_kept_is_named_with_both_numbers(show) -> None:
    report = sample_report()
    check = Check(name="max_size_mb", limit=0.25, measured=1.5, verdict="failed", reason="1.5 MB: over 0.25")
    broken = report.model_copy(update={"rows": [report.rows[0].model_copy(update={"checks": [check]})]})
    assert "tflite-float32: size failed: 1.5 MB: over 0.25" in _unescaped(show(broken))


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_how_many_photos_would_certify_an_artifact_that_only_passed_is_said(show) -> None:
    assert "tflite-int8: accuracy drop passed" in _unescaped(show(sample_report()))
    assert "1,240 more test photos would be needed to certify it" in show(sample_report())


@pytest.mark.parametrize("show", [markdown.render, _shown])
def test_the_steps_and_the_worst_layers_are_there_only_where_they_were_measured(show) -> None:
    with_all, without = show(sample_report()), show(sample_report(layers=False, timed=False))
    for words in ("here it was lost", "orst layers of"):
        assert words in with_all
        assert words not in without
    assert "not measured: one of the two did not run on these kernels" in with_all
    assert "2 layers were fused and could not be compared" in with_all
    assert re.search(r"14\.2 +\|? *11\.0 +\|? *0\.95500", with_all)


def test_the_markdown_says_what_was_measured_where_and_with_what() -> None:
    report = sample_report()
    text = _unescaped(markdown.render(report))
    for part in (
        report.machine.cpu,
        report.manifest_sha256,
        report.test_split_sha256,
        report.tledge_version,
        "seed 13",
    ):
        assert part in text
    for name, version in report.library_versions.items():
        assert f"{name} {version}" in text


@pytest.mark.parametrize("width", [80, 100, 120, 150, 200])
def test_a_terminal_of_any_usual_width_shows_every_figure_and_the_verdicts(width: int) -> None:
    report = sample_report()
    shown = _shown(report, width)
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= width
    for heading in ("drop pt", "agree %", "mean |dp|", "p50 ms", "p90 ms", "against float", "peak MB", "verdict"):
        assert heading in shown
    for row in report.rows:
        assert any(line.startswith(row.format) and line.rstrip().endswith(row.verdict) for line in shown.splitlines())


@pytest.mark.parametrize("name", ["[/red].toml", "my[bold].toml"])
def test_a_target_whose_name_looks_like_markup_is_shown_as_it_is(name: str) -> None:
    report = sample_report()
    odd = report.model_copy(update={"target": report.target.model_copy(update={"name": name})})
    assert name in _shown(odd)
    assert name in _unescaped(markdown.render(odd))


def test_a_format_on_two_runtimes_keeps_its_runtime_in_its_name() -> None:
    report = sample_report()
    twice = [report.rows[0], report.rows[0].model_copy(update={"runtime": "other"}), report.rows[4]]
    assert list(short_names(twice).values()) == ["tflite-float32 on litert", "tflite-float32 on other", "onnx-float32"]


def test_an_artifact_too_broken_for_a_runtime_is_named_by_its_format_and_shows_no_size() -> None:
    report = sample_report()
    lost = report.rows[-1].model_copy(update={"runtime": "", "file": "", "sha256": "", "size_bytes": 0})
    for show in (markdown.render, _shown):
        text = show(report.model_copy(update={"rows": [*report.rows[:-1], lost]}))
        assert "onnx-int8: runs failed" in text
        assert "0.000 |" not in text


def test_failures_of_different_artifacts_are_never_merged() -> None:
    report = sample_report()
    check = Check(name="runs", limit=None, measured=None, verdict="failed", reason="same words")
    rows = [row.model_copy(update={"checks": [check]}) for row in report.rows]
    assert len(findings(report.model_copy(update={"rows": rows}), "failed")) == len(rows)
    assert ONNX in [row.artifact for row in rows]


@pytest.mark.parametrize(
    ("value", "text"), [(0.364, "+0.36"), (-0.5, "\N{MINUS SIGN}0.50"), (-0.001, "0.00"), (0.0, "0.00"), (None, "")]
)
def test_a_difference_shows_its_sign_and_zero_has_none(value: float | None, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.000808, "0.000808"), (4.1818, "4.18"), (123456.0, "123456"), (1.55e-6, "1.55e-06")],
)
def test_a_figure_keeps_three_digits_that_mean_something(value: float, text: str) -> None:
    assert significant(value) == text


def test_a_gate_without_a_measurement_still_shows_its_limit() -> None:
    check = Check(name="max_memory_mb", limit=5.0, measured=None, verdict="not judged", reason="elsewhere")
    assert against_limit(check) == "not measured, limit 5 MB"
    assert against_limit(check.model_copy(update={"limit": None})) == ""
