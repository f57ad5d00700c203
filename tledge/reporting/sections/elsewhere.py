"""This section shows files that other tools made: what they take and give, and how that was found."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from tledge.printable import counted, one_line
from tledge.records import ForeignRecord, Report
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import percent, short_names


def how_found(record: ForeignRecord) -> str:
    """Say in words how the input of a file was found."""
    photos = f"{counted(record.num_trial_photos, 'labelled photo')} outside the test split"
    return {
        "trial": f"found by trial on {photos}",
        "original": f"found by the original's answers to {photos}: their labels left several preparations alike",
        "given": f"given by --file-input, and tried on {photos}",
        "nothing": "not found, because the file does not run",
    }[record.found_by]


def _values(report: Report) -> Values | None:
    made = [(row.artifact, row.foreign) for row in report.rows if row.foreign]
    return {"made": made, "how_found": how_found} if made else None


def _terminal(report: Report, width: int) -> Iterator[RenderableType]:
    names = short_names(report.rows)
    for row in report.rows:
        if record := row.foreign:
            line = f"{names[row.artifact]}, made elsewhere: takes {record.input}; gives {record.output}; {how_found(record)}"
            if len(record.tried) > 1:
                second = record.tried[1]
                line += f"; next best: {second.preparation}, {percent(second.accuracy, 1)}%"
            yield Text(one_line(line), style="dim")


SECTION = Section(order=15, title="Made elsewhere", html=_values, markdown=_values, terminal=_terminal)
