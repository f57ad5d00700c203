"""This section shows the layers whose outputs differ most from the float artifact's."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from tledge.printable import counted, one_line
from tledge.records import Report
from tledge.reporting.section import Section, Values
from tledge.reporting.terminal import plain_table

_NUM_WORST = 15
_NUM_WORST_IN_A_TERMINAL = 5


def decibels(value: float | None) -> str:
    """Return an SQNR in decibels with one decimal, or ``no error`` for None, which stands for no noise at all."""
    return "no error" if value is None else f"{value:.1f}"


def _values(report: Report) -> Values | None:
    return {"decibels": decibels, "num_worst": _NUM_WORST} if report.layers else None


def _terminal(report: Report, width: int) -> Iterator[RenderableType]:
    headings = ("own SQNR dB", "SQNR dB", "cosine", "operator", "layer")
    for index, layers in enumerate(report.layers):
        title = f"worst layers of {layers.artifact} against {layers.against}, {counted(layers.num_photos, 'photo')}"
        rows = [
            [decibels(layer.own_sqnr_db), decibels(layer.sqnr_db), f"{layer.cosine:.5f}", layer.operator, layer.name]
            for layer in layers.layers[:_NUM_WORST_IN_A_TERMINAL]
        ]
        if index:
            yield Text()
        yield Text(one_line(title), style="italic")
        yield plain_table(headings, rows, text=("operator", "layer"), wraps=("layer",))
        if layers.note:
            yield Text(one_line(layers.note), style="dim")


SECTION = Section(order=90, title="Layers", html=_values, markdown=_values, terminal=_terminal)
