"""The contract of a section of the report, asked of every one that is found."""

from __future__ import annotations

import functools
import io
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console, Group

from reporting.samples import sample_report
from reporting.test_html import SCRIPT, hostile_report
from tledge import reporting
from tledge.records import ForeignRecord, Report, TriedPreparation
from tledge.reporting import html
from tledge.reporting.section import Section
from tledge.reporting.sections import sections
from tledge.reporting.templating import anchor, markdown_text, part

FOLDER = Path(reporting.__file__).parent / "sections"
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-report-section.md"
SECTIONS = sections()
VOID = {"br", "img", "hr", "input", "meta", "link", "line", "path", "circle", "rect"}
every_section = pytest.mark.parametrize("name", SECTIONS)


def _nothing_ran() -> Report:
    report = sample_report(timed=False, layers=False)
    choice = report.choice.model_copy(update={"best": None, "others": []})
    gone = {"rows": report.rows[-1:], "flipped_photos": [], "num_flipped_photos": 0, "warnings": [], "choice": choice}
    return report.model_copy(update=gone)


def _control_characters() -> Report:
    odd = "x\x1b[2J\u202e\x00"
    report = sample_report(num_gallery=4, run=odd, error=odd, labels=[f"{odd}{number}" for number in range(3)])
    changed = {
        "target": report.target.model_copy(update={"name": odd, "description": odd}),
        "layers": [report.layers[0].model_copy(update={"artifact": odd, "note": odd})],
        "attribution": [step.model_copy(update={"before": odd, "note": odd}) for step in report.attribution],
        "warnings": [odd],
        "backbone": odd,
    }
    return report.model_copy(update=changed)


def _with_a_file_from_elsewhere() -> Report:
    """One of its artifacts was made by another tool."""
    report = sample_report()
    foreign = ForeignRecord(
        input="float32 NCHW RGB, 224 x 224, x/255",
        output="probabilities",
        found_by="trial",
        num_trial_photos=300,
        tried=[
            TriedPreparation(preparation="RGB, x/255", accuracy=0.9, log_loss=0.3),
            TriedPreparation(preparation="BGR, x/255", accuracy=0.8, log_loss=0.6),
        ],
        labels_inside=None,
    )
    *rows, last = report.rows
    return report.model_copy(update={"rows": [*rows, last.model_copy(update={"foreign": foreign})]})


REPORTS = {
    "whole": _with_a_file_from_elsewhere(),
    "accuracy only": sample_report(timed=False, layers=False),
    "many classes": sample_report(labels=[f"class {index}" for index in range(120)], num_photos=900),
    "nothing ran": _nothing_ran(),
    "hostile": hostile_report(),
    "control characters": _control_characters(),
}
every_report = pytest.mark.parametrize("kind", REPORTS)


def _template(name: str, suffix: Literal["html", "md"], report: Report) -> str | None:
    """A section's part in HTML or Markdown; None where the section has none or shows nothing of this report."""
    values_of = SECTIONS[name].html if suffix == "html" else SECTIONS[name].markdown
    values = values_of(report) if values_of else None
    return None if values is None else part(name, suffix, report, values)


def _on_a_terminal(name: str, report: Report, width: int) -> str:
    console = Console(file=(out := io.StringIO()), width=width)
    terminal = SECTIONS[name].terminal
    console.print(Group(*(terminal(report, width) if terminal else ())))
    return out.getvalue()


@functools.cache
def _page(kind: str) -> str:
    return html.render(REPORTS[kind])


class _Elements(HTMLParser):
    """The elements of a part: what is open at each, and whether all are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[tuple[str, ...], str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.found.append((tuple(self.open), tag, attributes))
        if tag not in VOID:
            self.open.append(f"{tag}.{attributes.get('class') or ''}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tuple(self.open), tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().split(".")[0] == tag, f"</{tag}> closes another element"


def test_no_two_sections_have_one_place_or_one_title() -> None:
    orders = [section.order for section in SECTIONS.values()]
    assert orders == sorted(set(orders))
    assert len({section.title for section in SECTIONS.values()}) == len(SECTIONS)


def test_every_file_beside_the_sections_belongs_to_one() -> None:
    kinds = ("py", "html.j2", "md.j2", "css", "js")
    known = {f"{name}.{kind}" for name in SECTIONS for kind in kinds} | {"__init__.py"}
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} <= known


@every_section
def test_a_section_has_a_title_and_a_template_for_each_part(name: str) -> None:
    section = SECTIONS[name]
    assert isinstance(section, Section)
    assert section.title[0].isupper()
    assert section.html or section.markdown or section.terminal
    assert (FOLDER / f"{name}.html.j2").is_file() == (section.html is not None)
    assert (FOLDER / f"{name}.md.j2").is_file() == (section.markdown is not None)


@every_section
def test_every_part_shows_something_of_a_whole_report(name: str) -> None:
    section, report = SECTIONS[name], REPORTS["whole"]
    for suffix, values_of in (("html", section.html), ("md", section.markdown)):
        assert values_of is None or (_template(name, suffix, report) or "").strip()
    assert section.terminal is None or _on_a_terminal(name, report, 100).strip()


@every_section
@every_report
def test_the_html_is_one_element_that_the_menu_leads_to(name: str, kind: str) -> None:
    text = _template(name, "html", REPORTS[kind])
    if text is None:
        return
    elements = _Elements(text)
    assert elements.open == []
    ((tag, attributes),) = [(tag, attributes) for above, tag, attributes in elements.found if not above]
    assert (tag, attributes.get("id")) in {("section", anchor(name)), ("header", anchor(name))}
    assert [tag for _, tag, _ in elements.found if tag in ("h1", "h2")] == ["h1" if tag == "header" else "h2"]
    assert f'<li><a href="#{anchor(name)}">{SECTIONS[name].title}</a></li>' in _page(kind)


@every_section
@every_report
def test_every_table_scrolls_in_a_box_with_a_name_of_its_own(name: str, kind: str) -> None:
    found = _Elements(_template(name, "html", REPORTS[kind]) or "").found
    assert all(above[-1] == "div.scroll" for above, tag, _ in found if tag == "table")
    names = [attributes["aria-label"] for _, _, attributes in found if attributes.get("class") == "scroll"]
    assert len(names) == len(set(names))


@every_section
def test_names_that_others_chose_are_no_markup(name: str) -> None:
    report = REPORTS["hostile"]
    assert SCRIPT not in (_template(name, "html", report) or ""), f"{name}.html.j2: drop the filter safe from this text"
    found = re.search(r".*(?<!\\)<script.*", _template(name, "md", report) or "")
    assert not found, f"{name}.md.j2: a text of this line needs the filter md: {found[0]}"


@every_section
def test_no_control_character_is_written(name: str) -> None:
    report = REPORTS["control characters"]
    parts = [_template(name, "html", report) or "", _template(name, "md", report) or ""]
    for text in (*parts, _on_a_terminal(name, report, 100)):
        assert {one for one in text if unicodedata.category(one)[0] == "C"} <= {"\n"}


@every_section
@every_report
def test_the_markdown_tables_are_whole(name: str, kind: str) -> None:
    text = _template(name, "md", REPORTS[kind]) or ""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
        assert re.match(r"\|(-+:?\|)+$", block.splitlines()[1])


@every_section
def test_markdown_begins_with_a_heading_unless_it_is_empty(name: str) -> None:
    text = _template(name, "md", REPORTS["whole"])
    assert text is None or re.match(r"\s*#{1,2} ", text)


@every_section
@every_report
@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal(name: str, kind: str, width: int) -> None:
    assert all(len(line) <= width for line in _on_a_terminal(name, REPORTS[kind], width).splitlines())


@every_section
def test_the_how_to_lists_the_section(name: str) -> None:
    row = f"| `{name}` | {SECTIONS[name].title} | {SECTIONS[name].order} | "
    assert row in HOW_TO.read_text(encoding="utf-8"), f"{HOW_TO.name}: its table needs a row {row}"


def test_the_check_for_markup_sees_a_name_that_was_not_escaped() -> None:
    assert re.search(r"(?<!\\)<script", SCRIPT)
    assert not re.search(r"(?<!\\)<script", markdown_text(SCRIPT))
