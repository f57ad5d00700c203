"""What machines read of a report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

import tledge
from reporting.samples import sample_report
from tledge.files import atomic_write, write_sealed
from tledge.records import Report
from tledge.reporting import junit, schema, write_all

SCHEMA = Path(tledge.__file__).parent.parent / "docs" / "report.schema.json"


def _parsed(report: Report) -> ET.Element:
    return ET.fromstring(junit.render(report))  # noqa: S314


def test_junit_holds_one_case_for_every_artifact_and_gate_with_its_outcome() -> None:
    report = sample_report()
    root = _parsed(report)
    assert [suite.get("name") for suite in root] == [row.artifact for row in report.rows]
    outcome = {"failed": "failure", "not judged": "skipped", "passed": "system-out", "certified": "system-out"}
    for suite, row in zip(root, report.rows, strict=True):
        cases = suite.findall("testcase")
        assert [case.get("name") for case in cases] == [check.name for check in row.checks]
        for case, check in zip(cases, row.checks, strict=True):
            (said,) = case
            assert said.tag == outcome[check.verdict]
            assert check.reason in (said.get("message") or said.text or "")


def test_junit_counts_what_it_holds() -> None:
    root = _parsed(sample_report())
    for element in [root, *root]:
        for name, path in (("tests", ".//testcase"), ("failures", ".//failure"), ("skipped", ".//skipped")):
            assert int(element.get(name, "")) == len(element.findall(path))
    assert int(root.get("failures", "")) == 3


def test_junit_survives_an_error_that_xml_cannot_hold() -> None:
    error = "\x00\x1b[31m ]]> <failure/> & \ufffe"
    root = _parsed(sample_report(error=error))
    (failure,) = [found for found in root.iter("failure") if "]]> <failure/> &" in (found.text or "")]
    assert "\x1b" not in (failure.text or "")


def test_the_schema_in_docs_is_that_of_the_records() -> None:
    remedy = "write it again: python -m tledge.reporting.schema > docs/report.schema.json"
    assert SCHEMA.read_text(encoding="utf-8") == schema.schema_text(), remedy


@pytest.mark.parametrize("options", [{}, {"certify": True}, {"timed": False, "layers": False, "broken": False}])
def test_a_report_on_disk_is_valid_by_the_schema_in_docs(options: dict[str, bool], tmp_path: Path) -> None:
    sample_report(**options).save(tmp_path / "report.json")
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    record = json.loads((tmp_path / "report.json").read_text())
    validator.validate(record)
    for change in ({"schema_version": 1}, {"verdict": "fine"}, {"unknown": 1}, {"record_sha256": "none"}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**record, **change})
    write_sealed(tmp_path / "again.json", {key: value for key, value in record.items() if key != "record_sha256"})
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "report.json").read_bytes()


def test_all_reports_are_written_whole_into_the_folder(tmp_path: Path) -> None:
    report = sample_report()
    atomic_write(tmp_path / "report.md", b"old")
    write_all(report, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.html", "report.json", "report.md"]
    assert (tmp_path / "junit.xml").read_text() == junit.render(report)
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")
    assert (tmp_path / "report.md").read_text().startswith("# flowers on cpu: failed")
    assert Report.load(tmp_path / "report.json", "") == report


def _undrawable(report: Report) -> Report:
    """A report that only its page fails to draw: no reader would have let it in."""
    return report.model_copy(update={"original": report.original.model_copy(update={"size_bytes": 0})})


def test_a_report_that_can_not_be_drawn_replaces_none_of_those_before(tmp_path: Path) -> None:
    write_all(sample_report(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises((ValueError, ArithmeticError)):  # by the first section that computes with the size
        write_all(_undrawable(sample_report(seed=4, timed=False)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_is_full_after_the_first_file_replaces_none_of_those_before(
    small_disk: Callable[[int], Path],
) -> None:
    folder = small_disk(600_000)
    write_all(sample_report(num_gallery=0), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    taken = folder / "taken"
    taken.write_bytes(b"0" * (shutil.disk_usage(folder).free - 120_000))
    with pytest.raises(OSError, match="No space left"):
        write_all(sample_report(seed=4), folder)
    taken.unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
