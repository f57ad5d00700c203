"""This module writes figures the same way in every report.

It also answers the few questions that every report asks of the record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tledge.printable import counted
from tledge.records import Check, Interval, NoiseFloor, Report, Row, Speedup

ORIGINAL = "original"  # Speedup.against has this value for the original
MINUS = "\N{MINUS SIGN}"
SYMBOLS = {"certified": "✓✓", "passed": "✓", "failed": "✕", "not judged": "○"}
GATES = {
    "runs": "runs",
    "promise": "format's promise",
    "contract": "input contract",
    "max_accuracy_drop_points": "accuracy drop",
    "max_size_mb": "size",
    "max_p95_latency_ms": "p95 latency",
    "max_memory_mb": "peak memory",
}


def percent(fraction: float | None, digits: int = 2) -> str:
    """Write a fraction in per cent without the sign: ``0.9145`` as ``91.45``. The text is empty for None."""
    return "" if fraction is None else f"{100 * fraction:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Write a number with its sign and a true minus; zero has no sign. The text is empty for None."""
    if value is None:
        return ""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return f"{0:.{digits}f}"
    return text.replace("-", MINUS)


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with so many decimals. The text is empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits; the text is empty for None.

    Between 0.0001 and a million no power of ten is used.
    """
    if value is None:
        return ""
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def megabytes(size_bytes: int | float) -> str:
    """Write bytes in units of 1,000,000, with three decimals.

    The text is empty for 0, which stands for a file whose record can't be read.
    """
    return f"{size_bytes / 1e6:.3f}" if size_bytes else ""


def percent_interval(interval: Interval | None, digits: int = 1) -> str:
    """Write an interval of fractions in per cent, as ``88.8 to 93.5``. The text is empty for None."""
    return "" if interval is None else f"{percent(interval.low, digits)} to {percent(interval.high, digits)}"


def signed_interval(interval: Interval | None, digits: int = 2) -> str:
    """Write an interval of differences with signs, as ``-0.41 to +1.13``. The text is empty for None."""
    return "" if interval is None else f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def big(value: float) -> str:
    """Write a large count, such as parameters or MACs, with a unit: ``2257984`` as ``2.26 M``."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:g}"


def gate(name: str) -> str:
    """Return the name of a gate as people read it."""
    return GATES.get(name, name)


def check_of(row: Row, name: str) -> Check | None:
    """Return the check of this name of an artifact, or None where it was not made."""
    return next((check for check in row.checks if check.name == name), None)


def full_name(row: Row) -> str:
    """Return ``FORMAT on RUNTIME``, or the format alone for an artifact so broken that no runtime was chosen."""
    return row.artifact if row.runtime else row.format


def short_names(rows: Iterable[Row]) -> dict[str, str]:
    """Return the shortest clear name of each artifact: its format alone, unless that runs on several runtimes."""
    listed = list(rows)
    formats = [row.format for row in listed]
    return {row.artifact: row.format if formats.count(row.format) == 1 else full_name(row) for row in listed}


def float_speedup(report: Report, row: Row) -> Speedup | None:
    """Return the speed-up against the float32 artifact at the target's thread count.

    It is None for a float32 artifact, and where one of the two was not timed.
    """
    return _speedup(report, row, of_original=False)


def original_speedup(report: Report, row: Row) -> Speedup | None:
    """Return the speed-up against the original at the target's thread count; None where it was not timed."""
    return _speedup(report, row, of_original=True)


def _speedup(report: Report, row: Row, *, of_original: bool) -> Speedup | None:
    threads = report.target.threads
    found = (one for one in row.speedups if (one.against == ORIGINAL) == of_original and one.num_threads == threads)
    return next(found, None)


def speedup_text(found: Speedup | None) -> str:
    """Write a speed-up as ``1.83x faster``, ``slower, 0.71x`` (of the other's speed) or ``no difference``.

    The text is empty for None.
    """
    if found is None:
        return ""
    if found.verdict == "no difference measured":
        return "no difference"
    return f"{found.ratio:.2f}x faster" if found.verdict == "faster" else f"slower, {found.ratio:.2f}x"


def slower_than_float(report: Report) -> list[str]:
    """List the artifacts with integer or hybrid operators that are slower than their float32 artifact.

    An artifact counts only where its latency was judged for the target.
    """
    names = short_names(report.rows)
    slower = []
    for row in report.rows:
        found, check = float_speedup(report, row), check_of(row, "max_p95_latency_ms")
        is_quantized = row.audit is not None and bool(row.audit.names_of("integer", "hybrid"))
        is_judged = check is not None and check.verdict != "not judged"
        if is_quantized and is_judged and found and found.verdict == "slower":
            slower.append(names[row.artifact])
    return slower


def verdict_text(report: Report) -> str:
    """Write the verdict, as ``passed (tflite-int8 is slower than float)``.

    An artifact that is slower than its float32 artifact fails no gate, but it is named because nobody would ship it.
    """
    slower = slower_than_float(report)
    if not slower:
        return report.verdict
    return f"{report.verdict} ({', '.join(slower)} {'is' if len(slower) == 1 else 'are'} slower than float)"


def noise(floor: NoiseFloor) -> str:
    """Explain a noise floor in a sentence."""
    interval = f"{floor.ratio_interval.low:.3f} to {floor.ratio_interval.high:.3f}"
    return (
        f"At {counted(floor.num_threads, 'thread')}, differences up to {100 * floor.floor:.1f}% are noise: "
        f"{floor.artifact} against itself is {floor.ratio:.3f} ({interval})."
    )
