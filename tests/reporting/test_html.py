"""report.html as text: whole without a script, safe with hostile names, and nothing in it comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html as html_text
import re
import unicodedata
from html.parser import HTMLParser

import pytest

from reporting.samples import BROKEN, INT8, sample_report
from tledge.records import Report
from tledge.reporting import html

SCRIPT = "<script>window.pwned = 1</script>"
QUOTES = "\"' onload=window.pwned=1 x="


class _Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.open.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


@pytest.fixture(scope="module")
def report() -> Report:
    return sample_report()


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return html.render(report)


def hostile_report() -> Report:
    """A report in which every text that others chose tries to be markup."""
    text = SCRIPT + QUOTES
    report = sample_report(labels=[text, "b</style>", "c-->", "d", "e"], run=text, error=text)
    photos = [
        photo.model_copy(update={"id": text, "thumbnail_jpeg_base64": f"{QUOTES}javascript:"})
        for photo in report.flipped_photos
    ]
    return report.model_copy(
        update={
            "flipped_photos": photos,
            "warnings": [text],
            "backbone": text,
            "library_versions": {text: text},
            "target": report.target.model_copy(update={"name": text, "description": text}),
            "machine": report.machine.model_copy(update={"cpu": text}),
            "layers": [report.layers[0].model_copy(update={"note": text, "artifact": text})],
        }
    )


def test_hostile_names_and_errors_stay_text() -> None:
    page = _Page(html.render(hostile_report()))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == tags.count("style") == 1
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(SCRIPT) > 20
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def test_the_policy_allows_the_pages_own_style_and_script_by_their_hashes_and_nothing_else(page: str) -> None:
    (policy,) = [
        attributes["content"] for tag, attributes in _Page(page).tags if attributes.get("http-equiv") and tag == "meta"
    ]
    directives = dict(part.split(" ", 1) for part in html_text.unescape(policy or "").split("; "))
    hashes = {}
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes["style"],
        "script-src": hashes["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [attributes for _, attributes in _Page(page).tags if "style" in attributes]


def test_the_page_names_no_address(page: str) -> None:
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", page))


def test_everything_of_the_record_is_in_the_page_without_a_script(report: Report, page: str) -> None:
    parsed = _Page(page)
    wanted = [report.run, report.dataset, report.manifest_sha256, report.test_split_sha256, report.machine.cpu]
    wanted += [report.dataset_fingerprint_sha256, report.choice.reason, *report.warnings, *report.labels]
    wanted += [check.reason for row in report.rows for check in row.checks]
    wanted += [row.sha256 for row in report.rows] + [warning for row in report.rows for warning in row.warnings]
    wanted += [layer.name for layers in report.layers for layer in layers.layers]
    wanted += [step.note for step in report.attribution] + [lost.reason for lost in report.choice.others]
    wanted += [photo.id for photo in report.flipped_photos]
    for text in wanted:
        assert text in parsed.text
    images = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    assert images == [f"data:image/jpeg;base64,{photo.thumbnail_jpeg_base64}" for photo in report.flipped_photos]
    hidden = [attributes.get("id") for _, attributes in parsed.tags if "hidden" in attributes]
    assert hidden == ["theme", "matrix-controls", "gallery-controls"]  # what a script has to be there for


def test_verdicts_come_before_everything_else_and_carry_a_sign_beside_the_colour(report: Report, page: str) -> None:
    text = _Page(page).text
    assert text.index("4 of 6 artifacts keep every budget that was judged, 2 certified") < text.index(
        "Gates", text.index("of tf_flowers")
    )
    for verdict, sign in (("certified", "✓✓"), ("passed", "✓"), ("failed", "✕"), ("not judged", "○")):
        assert f"{sign} {verdict}" in text
    assert {unicodedata.category(sign) for sign in "✓✕○"} == {"So"}
    assert f"Best: {INT8.split()[0]}" in text
    assert BROKEN.split()[0] in text


@pytest.mark.parametrize(
    "options",
    [
        {"timed": False, "layers": False},
        {"sweep": False, "certify": True},
        {"labels": [f"class {index}" for index in range(120)], "num_photos": 900},
        {"num_gallery": 0},
    ],
    ids=["accuracy only", "certify", "120 classes", "no flip shown"],
)
def test_a_report_with_less_or_more_in_it_is_still_a_whole_page(options: dict[str, object]) -> None:
    page = html.render(sample_report(**options))
    assert page.rstrip().endswith("</html>")
    anchors = re.findall(r'<a href="#([a-z-]+)"', page)
    assert set(anchors) <= set(re.findall(r'id="([a-z-]+)"', page))
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_every_budget_is_said_to_be_kept_only_where_every_budget_was_judged() -> None:
    report = sample_report(broken=False)
    rows = [
        row.model_copy(update={"checks": [check for check in row.checks if check.verdict != "not judged"]})
        for row in report.rows
    ]
    text = _Page(html.render(report.model_copy(update={"rows": rows}))).text
    assert "artifacts keep every budget, " in text
    assert "keep every budget that was judged, " in _Page(html.render(sample_report(timed=False))).text


def test_the_changed_answers_of_every_class_and_artifact_stand_in_a_table(report: Report, page: str) -> None:
    (found,) = re.findall(r'<table class="flips">(.*?)</table>', page, re.DOTALL)
    cells = {
        label: re.findall(r"\d+ / \d+ / \d+", row)
        for label, row in re.findall(r'scope="row">([a-z ]+)<(.*?)</tr>', found)
    }
    drifts = [row.drift for row in report.rows if row.drift]
    for index, label in enumerate(report.labels):
        flips = [drift.per_class[index].flips for drift in drifts]
        assert cells[label] == [f"{one.right_to_wrong} / {one.wrong_to_right} / {one.wrong_to_wrong}" for one in flips]
    sums = [[sum(map(int, part)) for part in zip(*(cell.split(" / ") for cell in column), strict=True)]
            for column in zip(*(cells[label] for label in report.labels), strict=True)]  # fmt: skip
    assert [" / ".join(map(str, one)) for one in sums] == cells["all classes"]


def test_a_quantized_artifact_slower_than_float_is_part_of_the_verdict(report: Report, page: str) -> None:
    assert f"Verdict: {report.verdict} (tflite-dynamic is slower than float)." in _Page(page).text
    assert "slower than float)" not in _Page(html.render(sample_report(timed=False))).text


def test_a_report_of_which_nothing_ran_is_still_a_page_that_says_why() -> None:
    report = sample_report()
    nothing = report.model_copy(
        update={
            "rows": report.rows[-1:],
            "flipped_photos": [],
            "num_flipped_photos": 0,
            "choice": report.choice.model_copy(update={"best": None, "reason": "no artifact keeps every budget"}),
        }
    )
    text = _Page(html.render(nothing)).text
    assert "None to ship : no artifact keeps every budget" in text
    assert "crashed: ended by SIGSEGV" in text
