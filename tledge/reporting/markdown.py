"""The report as Markdown, for a pull request."""

from __future__ import annotations

from pathlib import Path

from tledge.files import atomic_write
from tledge.records import Report

_TEMPLATE = """\
# {{ report.run }} on {{ report.target.name }}: {{ report.verdict }}

{{ report.num_test_photos }} test photos. Original as {{ report.original.device.name }} ({{ report.original.device.kind }}) \
computed it: {{ "%.2f"|format(100 * report.original.reference_accuracy) }}%. Its SavedModel on this CPU: \
{{ "%.2f"|format(100 * report.original.cpu_drift.accuracy) }}%, agreement \
{{ "%.2f"|format(100 * report.original.cpu_drift.agreement) }}%, p50 \
{{ "%.2f"|format(report.original.cpu_latency.p50_ms) }} ms.

| format | runtime | top-1 % | drop, points | agreement % | largest dp | mean dp | MB | load ms \
| p50 ms | p90 ms | p95 ms | p99 ms | peak MB | verdict |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
{% for row in report.rows -%}
{% if row.drift -%}
| {{ row.format }} | {{ row.runtime }} | {{ "%.2f"|format(100 * row.drift.accuracy) }} | \
{{ "%+.2f"|format(row.drift.accuracy_drop_points) }} | {{ "%.2f"|format(100 * row.drift.agreement) }} | \
{{ "%.4f"|format(row.drift.max_abs_probability_difference) }} | \
{{ "%.5f"|format(row.drift.mean_abs_probability_difference) }} | {{ "%.3f"|format(row.size_bytes / 1e6) }} | \
{{ "%.1f"|format(row.load_ms) }} | {{ "%.2f"|format(row.latency.p50_ms) }} | {{ "%.2f"|format(row.latency.p90_ms) }} | \
{{ "%.2f"|format(row.latency.p95_ms) }} | {{ "%.2f"|format(row.latency.p99_ms) }} | \
{{ "%.0f"|format(row.peak_memory_mb) }} | {{ row.verdict }} |
{% else -%}
| {{ row.format }} | {{ row.runtime }} | | | | | | {{ "%.3f"|format(row.size_bytes / 1e6) }} | | | | | | | \
{{ row.verdict }}: {{ row.error|replace("|", "/")|replace("\\n", " ") }} |
{% endif -%}
{% endfor %}
{% for row in report.rows -%}{% for check in row.checks if check.verdict != "passed" -%}
- {{ row.format }}: {{ check.name }} {{ check.verdict }}\
{% if check.measured is not none %}, {{ "%.3g"|format(check.measured) }} against {{ "%.3g"|format(check.limit) }}{% endif %} \
({{ check.reason }})
{% endfor -%}{% endfor -%}
{% for warning in report.warnings -%}
- {{ warning }}
{% endfor %}
Batch 1, {{ report.target.threads }} threads, {{ report.machine.cpu }}, {{ report.machine.logical_cores }} cores, \
{{ report.machine.system }}; \
{% for name, version in report.library_versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}.
Manifest {{ report.manifest_sha256 }}; tledge {{ report.tledge_version }}; {{ report.created_utc }}.
"""


def render(report: Report) -> str:
    """Markdown of a report."""
    import jinja2

    # Markdown, not HTML: nothing to escape for.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701
    return environment.from_string(_TEMPLATE).render(report=report)


def write(report: Report, folder: Path) -> None:
    """Write report.md beside report.json."""
    atomic_write(folder / "report.md", render(report).encode())
