"""Where things stand in the charts."""

from __future__ import annotations

import pytest

from reporting.samples import sample_report
from tledge.reporting import charts
from tledge.reporting.axis import Axis
from tledge.reporting.labels import Box, place
from tledge.reporting.sections.classes import class_rows
from tledge.reporting.sections.confusion import matrices
from tledge.reporting.sections.drop import forest
from tledge.reporting.sections.latency import strips
from tledge.reporting.sections.trade_off import scatter


def test_an_axis_maps_its_ends_to_its_pixels_and_marks_round_values_between() -> None:
    axis = Axis(-0.7, 4.3, 100, 200)
    assert (axis.at(-0.7), axis.at(4.3)) == (100, 200)
    assert [tick.text for tick in axis.ticks] == ["0", "1", "2", "3", "4"]
    log = Axis(2, 60, 0, 300, is_log=True)
    assert [tick.text for tick in log.ticks] == ["2", "5", "10", "20", "50"]
    assert log.at(20) - log.at(10) == pytest.approx(log.at(10) - log.at(5), abs=0.2)


def test_labels_cover_neither_each_other_nor_a_bubble_where_there_is_room() -> None:
    circles = [(100.0, 100.0, 20.0), (120.0, 100.0, 20.0), (110.0, 115.0, 12.0)]
    texts = ["one label", "another", "a third"]
    boxes = [label.box for label in place(texts, circles, Box(0, 0, 600, 300), [])]
    bubbles = [Box(x - r, y - r, 2 * r, 2 * r) for x, y, r in circles]
    for index, box in enumerate(boxes):
        assert all(box.overlap(other) == 0 for other in boxes[:index] + bubbles)
        assert box.overlap(Box(0, 0, 600, 300)) == pytest.approx(box.width * box.height)


@pytest.mark.parametrize("width", charts.WIDTHS)
@pytest.mark.parametrize("options", [{}, {"timed": False}])
def test_everything_drawn_is_inside_the_chart(width: int, options: dict[str, bool]) -> None:
    report = sample_report(**options)
    bubbles, drops = scatter(report, width), forest(report, width)
    assert bubbles and drops
    assert len(bubbles.bubbles) == 6  # five artifacts and the original
    for bubble in bubbles.bubbles:
        assert 0 < bubble.x < width and 0 < bubble.y < bubbles.height
        assert bubble.label.left >= -1 and bubble.label.left + bubble.label.width <= width + 1
    for row in drops.rows[:-1]:
        assert row.x is not None
        assert 0 <= row.low <= row.x <= row.high <= width
    assert drops.rows[-1].x is None
    times = strips(report, width)
    assert (times is None) == (not options.get("timed", True))
    for strip in times.rows if times else []:
        assert 0 < strip.median < strip.p99 < width


def test_a_bubbles_area_is_its_files_size() -> None:
    chart = scatter(sample_report(), 720)
    assert chart
    radii = {bubble.text: bubble.radius for bubble in chart.bubbles}
    assert (radii["original 11.2 MB"] / radii["tflite-int8 2.7 MB"]) ** 2 == pytest.approx(11.24 / 2.69, rel=0.03)


def test_nothing_that_ran_means_no_chart() -> None:
    report = sample_report()
    failed = report.model_copy(update={"rows": report.rows[-1:]})
    assert scatter(failed, 720) is None
    assert forest(failed, 720) is None
    assert matrices(failed) == class_rows(failed) == []
