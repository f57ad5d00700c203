"""Fail if the int8 artifact loses too much on any one class: a gate that tledge itself does not have."""

import sys
from pathlib import Path

from tledge import Report

MAX_DROP_POINTS = 30.0

report = Report.load(Path("artifacts/example/verification/report.json"), "run 1_build_export_verify.py first")
(row,) = [row for row in report.rows if row.format == "tflite-int8"]
if row.drift is None:
    sys.exit(f"tflite-int8 did not run: {row.error}")
drops = {one.label: one.recall_drop_points for one in row.drift.per_class if one.recall_drop_points is not None}
worst = max(drops, key=lambda label: drops[label])
print(f"largest drop of recall: class {worst}, {drops[worst]:+.1f} points")
sys.exit(1 if drops[worst] > MAX_DROP_POINTS else 0)
