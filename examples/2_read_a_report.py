"""Print what each artifact of the last verification lost, and how fast it is."""

from pathlib import Path

from tledge import Report

report = Report.load(Path("artifacts/example/verification/report.json"), "run 1_build_export_verify.py first")
for row in report.rows:
    if row.drift is None or row.latency is None:
        print(f"{row.format}: did not run: {row.error}")
        continue
    interval = row.drift.accuracy_drop_points_interval
    print(
        f"{row.format}: drop {row.drift.accuracy_drop_points:+.2f} points ({interval.low:+.2f} to {interval.high:+.2f}), "
        f"agreement {row.drift.agreement:.2%}, p95 {row.latency.p95_ms:.2f} ms, {row.verdict}"
    )
