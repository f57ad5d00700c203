"""report.html in headless Chromium: what a reader sees, reaches and can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reporting.samples import sample_report
from reporting.test_html import SCRIPT, hostile_report
from tledge.reporting import html

pytestmark = pytest.mark.long  # minutes in all

CHARTS = ("scatter", "forest", "latency")
LONG = "an unusually long label of a class " * 3


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Callable[..., Any]]:
    """Open the page, or another file, and fail afterwards for any message of the console and any request."""
    contexts, said, asked = [], [], []

    def open_page(path: Path = page_file, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)


@contextmanager
def _written(report: Any, folder: Path) -> Iterator[Path]:
    path = folder / "report.html"
    path.write_text(html.render(report), encoding="utf-8")
    yield path


def _visible(page: Any, selector: str) -> list[Any]:
    return [found for found in page.query_selector_all(selector) if found.is_visible()]


def _answers(page: Any) -> list[Any]:
    return _visible(page, ".photo li")


@pytest.mark.parametrize("width", [1280, 360])
def test_every_chart_is_there_once_and_has_a_text_for_those_who_do_not_see_it(opened: Any, width: int) -> None:
    page = opened(width=width)
    for name in CHARTS:
        (chart,) = _visible(page, f"svg[data-chart={name}]")
        box = chart.bounding_box()
        assert box["width"] > 300 and box["height"] > 150
        assert chart.get_attribute("role") == "img"
        for part in chart.get_attribute("aria-labelledby").split():
            assert page.locator(f"#{part}").text_content().strip()
    (forest,) = _visible(page, "svg[data-chart=forest]")
    assert len(forest.query_selector_all("line.interval")) == 5
    assert len(forest.query_selector_all("line.limit")) == 1
    (strips,) = _visible(page, "svg[data-chart=latency]")
    assert len(strips.query_selector_all("line.median")) == 6


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(opened: Any, width: int, tmp_path: Path) -> None:
    long = sample_report(labels=[LONG, "x" * 300, "c", "d", "e"], error="y" * 2000)
    with _written(long, tmp_path) as path:
        for page in (opened(width=width), opened(path, width=width)):
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1200, 1440])
@pytest.mark.parametrize(("num_classes", "num_photos"), [(5, 550), (30, 900), (100, 1000)])
def test_a_wide_page_shows_every_table_whole(
    opened: Any, width: int, num_classes: int, num_photos: int, tmp_path: Path
) -> None:
    report = sample_report(labels=[f"class {index}" for index in range(num_classes)], num_photos=num_photos)
    formats = ("tflite-int8-pruned", "onnx-float32-activations")
    more = [report.rows[3].model_copy(update={"format": name}) for name in formats]
    seven = report.model_copy(update={"rows": [*report.rows[:5], *more, report.rows[-1]]})
    with _written(seven, tmp_path) as path:
        page = opened(path, width=width)
    page.evaluate(
        "document.querySelectorAll('details').forEach(one => { one.open = true; });"
        "document.querySelectorAll('.away').forEach(one => { one.classList.remove('away'); });"
    )
    right_edges = page.evaluate(
        "[...document.querySelectorAll('table')].filter(one => one.checkVisibility()).map(one =>"
        " [one.getBoundingClientRect().right, one.closest('.scroll').getBoundingClientRect().right])"
    )
    assert len(right_edges) > 15
    for table, box in right_edges:
        assert table <= box + 0.5  # half a pixel of rounding
        assert table <= page.evaluate("document.documentElement.clientWidth")


def test_all_classes_open_with_one_click_and_no_script(opened: Any, tmp_path: Path) -> None:
    report = sample_report(labels=[f"class {index}" for index in range(60)], num_photos=300)
    with _written(report, tmp_path) as path:
        page = opened(path, java_script_enabled=False)
    tables = page.locator("table.classes")
    assert [tables.nth(index).is_visible() for index in range(tables.count())] == [True, False]
    page.get_by_text("Drift of all 60 classes").click()
    assert tables.nth(1).is_visible()
    assert tables.nth(1).locator("tbody tr").count() == 60


def test_wide_tables_scroll_in_a_box_of_their_own_that_the_keyboard_reaches(opened: Any) -> None:
    page = opened(width=360)
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).map(box => box.tabIndex)"
    )
    assert len(wide) > 3
    assert set(wide) == {0}


def test_printing_shows_everything_on_paper_of_usual_width(opened: Any) -> None:
    page = opened(width=695, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 695
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
    assert len(_visible(page, ".matrix")) == 6
    assert not _visible(page, "nav, .controls")
    assert page.get_by_text("p95 6.80 ms against 3.26 ms").first.is_visible()  # inside a closed <details>
    assert len(page.pdf(prefer_css_page_size=True)) > 50_000


def test_without_a_script_everything_is_shown_and_no_control_is_dead(opened: Any) -> None:
    page = opened(java_script_enabled=False)
    assert len(page.query_selector_all(".photo")) == len(_visible(page, ".photo")) == 36
    assert len(_visible(page, ".matrix")) == 6
    assert not _visible(page, "button, select")


def test_one_matrix_is_shown_at_a_time_and_the_chosen_one(opened: Any) -> None:
    page = opened()
    assert len(_visible(page, ".matrix")) == 1
    page.select_option("#matrix-select", label="tflite-int8")
    (matrix,) = _visible(page, ".matrix")
    assert "tflite-int8: " in matrix.text_content()


def test_the_gallery_filters_by_artifact_truth_and_change(opened: Any) -> None:
    page, report = opened(), sample_report()
    shown = {photo.id: photo for photo in report.flipped_photos}
    page.select_option("#filter-artifact", label="tflite-int8")
    wanted = [name for name, photo in shown.items() if any("int8" in one.artifact for one in photo.answers)]
    assert [found.text_content() for found in _visible(page, ".photo .id")] == wanted
    assert page.text_content("#gallery-count") == f"{len(wanted)} of 36 photos"
    assert all("tflite-int8" in answer.text_content() for answer in _answers(page))
    page.select_option("#filter-kind", label="wrong to right")
    assert {answer.get_attribute("data-kind") for answer in _answers(page)} == {"wrong to right"}
    for found in _visible(page, ".photo .id"):
        photo = shown[found.text_content()]
        assert photo.original_predicted != photo.label
    page.select_option("#filter-artifact", label="all")
    page.select_option("#filter-kind", label="all")
    page.select_option("#filter-label", label="roses")
    assert {found.text_content() for found in _visible(page, ".photo .truth")} == {"roses"}
    page.select_option("#filter-label", label="all")
    assert [found.text_content() for found in _visible(page, ".photo .id")] == list(shown)


@pytest.mark.parametrize(("order", "sign"), [("original surest first", -1), ("original least sure first", 1)])
def test_the_gallery_sorts_by_the_originals_confidence(opened: Any, order: str, sign: int) -> None:
    page, report = opened(), sample_report()
    page.select_option("#sort", label=order)
    wanted = sorted(report.flipped_photos, key=lambda photo: sign * photo.original_confidence)
    assert [found.text_content() for found in _visible(page, ".photo .id")] == [photo.id for photo in wanted]


def test_the_gallery_sorts_by_the_confidence_of_the_artifact_that_is_shown(opened: Any) -> None:
    page = opened()
    page.select_option("#filter-artifact", label="tflite-int8")
    page.select_option("#sort", label="artifact surest first")
    sure = [float(answer.get_attribute("data-confidence")) for answer in _answers(page)]
    assert len(sure) > 3
    assert sure == sorted(sure, reverse=True)


def test_the_theme_follows_the_system_until_the_reader_chooses(opened: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = opened(), opened(color_scheme="dark")
    colours = (light.evaluate(paper), dark.evaluate(paper))
    assert colours == ("rgb(253, 253, 252)", "rgb(21, 23, 26)")
    light.click("#theme")
    assert light.evaluate(paper) == colours[1]
    light.click("#theme")
    dark.click("#theme")
    dark.click("#theme")
    assert light.evaluate(paper) == dark.evaluate(paper) == colours[0]


def test_the_keyboard_alone_reaches_every_control_and_works_it(opened: Any) -> None:
    page = opened()
    wanted = page.evaluate(
        "[...document.querySelectorAll('a, button, select, summary, .scroll')]"
        ".filter(one => one.checkVisibility()).map((one, index) => (one.dataset.order = index))"
    )
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("Number(document.activeElement.dataset.order)"))
    assert reached == wanted
    page.focus("#filter-kind")
    page.keyboard.press("ArrowDown")
    assert {answer.get_attribute("data-kind") for answer in _answers(page)} == {"right to wrong"}
    page.focus("#theme")
    page.keyboard.press("Enter")
    assert page.text_content("#theme") == "Theme: dark"
    page.focus("details summary")
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_hostile_names_run_nothing(opened: Any, tmp_path: Path) -> None:
    hostile = hostile_report().model_copy(
        update={"flipped_photos": sample_report(labels=[SCRIPT, "b", "c"]).flipped_photos}
    )
    with _written(hostile, tmp_path) as path:  # the thumbnails are real: a broken one is a message of the console
        page = opened(path)
        assert page.evaluate("window.pwned") is None
        assert page.locator("script").count() == 1


def test_a_script_that_slipped_in_would_not_run(browser: Any, page_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(
        page_file.read_text().replace(
            "</main>", '<script>window.pwned=1</script><img src="x:" onerror="window.pwned=1"></main>'
        )
    )
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_no_serious_fault_of_accessibility(opened: Any, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["target"] for node in one["nodes"]][:5])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.locator("h1").count() == 1
