"""How figures are written, the same in every report, and the few questions that every report asks of the record."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tledge.records import Check, Interval, NoiseFloor, Report, Row, Speedup

ORIGINAL = "original"  # what Speedup.against says of the original
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
    """``0.9145`` as ``91.45``, without the sign for per cent; empty for None."""
    return "" if fraction is None else f"{100 * fraction:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """With its sign, a true minus; nothing is ``-0.00``; empty for None."""
    if value is None:
        return ""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return f"{0:.{digits}f}"
    return text.replace("-", MINUS)


def number(value: float | None, digits: int = 2) -> str:
    """With so many decimals; empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """With so many significant digits, never as a power of ten between 0.0001 and a million; empty for None."""
    if value is None:
        return ""
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def megabytes(size_bytes: int | float) -> str:
    """Bytes in units of 1,000,000, with three decimals; empty for 0, which is a file whose record can't be read."""
    return f"{size_bytes / 1e6:.3f}" if size_bytes else ""


def percent_interval(interval: Interval | None, digits: int = 1) -> str:
    """An interval of fractions as ``88.8 to 93.5``; empty for None."""
    return "" if interval is None else f"{percent(interval.low, digits)} to {percent(interval.high, digits)}"


def signed_interval(interval: Interval | None, digits: int = 2) -> str:
    """An interval of differences as ``-0.41 to +1.13``; empty for None."""
    return "" if interval is None else f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def count_text(value: int, noun: str) -> str:
    """``1 thread``, ``1,024 threads``."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def big(value: float) -> str:
    """``2257984`` as ``2.26 M``: counts of parameters and multiply-accumulates."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:g}"


def gate(name: str) -> str:
    """A check's name for people."""
    return GATES.get(name, name)


def check_of(row: Row, name: str) -> Check | None:
    """One check of an artifact; None where it was not made."""
    return next((check for check in row.checks if check.name == name), None)


def full_name(row: Row) -> str:
    """``FORMAT on RUNTIME``; the format alone for an artifact so broken that no runtime was chosen."""
    return row.artifact if row.runtime else row.format


def short_names(rows: Iterable[Row]) -> dict[str, str]:
    """Artifact to the name it needs in this report: its format alone, unless that runs on several runtimes."""
    listed = list(rows)
    formats = [row.format for row in listed]
    return {row.artifact: row.format if formats.count(row.format) == 1 else full_name(row) for row in listed}


def float_speedup(report: Report, row: Row) -> Speedup | None:
    """The speed-up against the float artifact at the target's thread count; None for a float one, or not timed."""
    return _speedup(report, row, of_original=False)


def original_speedup(report: Report, row: Row) -> Speedup | None:
    """The speed-up against the original at the target's thread count; None where it was not timed."""
    return _speedup(report, row, of_original=True)


def _speedup(report: Report, row: Row, *, of_original: bool) -> Speedup | None:
    threads = report.target.threads
    found = (one for one in row.speedups if (one.against == ORIGINAL) == of_original and one.num_threads == threads)
    return next(found, None)


def speedup_text(found: Speedup | None) -> str:
    """``1.83x faster``, ``slower, 0.71x`` (of its speed) or ``no difference``; empty for None."""
    if found is None:
        return ""
    if found.verdict == "no difference measured":
        return "no difference"
    return f"{found.ratio:.2f}x faster" if found.verdict == "faster" else f"slower, {found.ratio:.2f}x"


def slower_than_float(report: Report) -> list[str]:
    """The artifacts with quantized weights that are slower than their float one, where latency counts for the target."""
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
    """``passed (tflite-int8 is slower than float)``: the verdict, and what fails no gate but nobody would ship."""
    slower = slower_than_float(report)
    if not slower:
        return report.verdict
    return f"{report.verdict} ({', '.join(slower)} {'is' if len(slower) == 1 else 'are'} slower than float)"


def noise(floor: NoiseFloor) -> str:
    """What one noise floor says, as a sentence."""
    interval = f"{floor.ratio_interval.low:.3f} to {floor.ratio_interval.high:.3f}"
    return (
        f"At {count_text(floor.num_threads, 'thread')}, differences up to {100 * floor.floor:.1f}% are noise: "
        f"{floor.artifact} against itself is {floor.ratio:.3f} ({interval})."
    )
