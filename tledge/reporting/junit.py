"""This module renders the report as JUnit XML: artifacts are suites and gates are cases, for continuous integration."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tledge.printable import printable_lines
from tledge.records import Check, Report, Row
from tledge.reporting.wording import full_name


def render(report: Report) -> str:
    """Return JUnit XML. A failed gate is a failure, and a gate that is not judged is skipped; both give the reason."""
    root = ET.Element("testsuites", name=_text(f"tledge verify {report.run} on {report.target.name}"))
    for row in report.rows:
        root.append(_suite(report, row))
    _count(root, [check for row in report.rows for check in row.checks])
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(report: Report, row: Row) -> ET.Element:
    suite = ET.Element("testsuite", name=_text(full_name(row)), timestamp=_text(report.created_utc.removesuffix("Z")))
    _count(suite, row.checks)
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("sha256", row.sha256),
        ("manifest_sha256", report.manifest_sha256),
        ("test_split_sha256", report.test_split_sha256),
        ("verdict", row.verdict),
    ):
        ET.SubElement(properties, "property", name=name, value=_text(value))
    for check in row.checks:
        suite.append(_case(report, row, check))
    return suite


def _case(report: Report, row: Row, check: Check) -> ET.Element:
    case = ET.Element("testcase", classname=_text(f"{report.run}.{full_name(row)}"), name=_text(check.name))
    said = _text(check.reason)
    if check.verdict == "failed":
        ET.SubElement(case, "failure", type=_text(check.name), message=said).text = said
    elif check.verdict == "not judged":
        ET.SubElement(case, "skipped", message=said)
    else:
        ET.SubElement(case, "system-out").text = _text(f"{check.verdict}: {said}")
    return case


def _count(element: ET.Element, checks: list[Check]) -> None:
    verdicts = [check.verdict for check in checks]
    element.set("tests", str(len(verdicts)))
    element.set("failures", str(verdicts.count("failed")))
    element.set("errors", "0")
    element.set("skipped", str(verdicts.count("not judged")))


def _text(value: str) -> str:
    """Return a text without characters that XML 1.0 can't hold (https://www.w3.org/TR/xml/#charsets).

    Only printable text is kept, because an error may quote the output of a crash.
    """
    return printable_lines(value)
