"""Verify one run again and again: does ``tledge compare --fail-on`` find what is planted, and nothing else?

    python benchmarks/regressions.py --run digits --target cpu-single-core

Each verification is compared with all before it. No rule may fail. Then a slowdown is planted in the latencies of the
newer report, and growth in its sizes; both must be found. A comparison of latencies that the gate refuses, since the
machine was too unsteady or changed its speed, is counted apart, and made up for by further verifications. Exit code
1 where a rule failed that should not, or missed what was planted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from common import busy_warning, load_average


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether the gate of compare finds regressions, and no noise.")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder of the runs")
    parser.add_argument("--run", required=True)
    parser.add_argument("--format", action="append", dest="formats", default=[])
    parser.add_argument("--target", default="cpu-single-core")
    parser.add_argument("--protocol", default="standard")
    parser.add_argument("--comparisons", type=int, default=20, help="comparisons whose latency is judged")
    parser.add_argument("--most-verifications", type=int, default=60, help="give up after so many")
    parser.add_argument("--slowdown", type=float, default=0.2, help="what is planted, a fraction")
    parser.add_argument("--growth", type=float, default=0.1, help="what is planted, a fraction")
    options = parser.parse_args()
    from tledge.records import Report
    from tledge.reporting.regressions import RULES, RuleVerdict, judge_reports
    from tledge.run import open_run
    from tledge.verification.measurement import Wanted
    from tledge.verification.verify import verify_artifacts

    load = load_average()
    warning = busy_warning(load)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    run = open_run(options.artifacts, options.run)
    wanted = Wanted(protocol=options.protocol)

    def judged_by(before: Report, after: Report) -> dict[str, RuleVerdict]:
        return {rule.rule: rule for rule in judge_reports(before, after, list(RULES)).gate.rules}

    def planted(report: Report) -> Report:
        """The report with every latency and size raised."""
        slower, rows = 1 + options.slowdown, []
        for row in report.rows:
            changed: dict[str, object] = {"size_bytes": round(row.size_bytes * (1 + options.growth))}
            if row.latency:
                medians = [slower * median for median in row.latency.round_medians_ms]
                times = {"round_medians_ms": medians, "p50_ms": slower * row.latency.p50_ms}
                changed["latency"] = row.latency.model_copy(update=times)
            rows.append(row.model_copy(update=changed))
        return report.model_copy(update={"rows": rows})

    same: dict[str, Counter[str]] = {rule: Counter() for rule in RULES}
    found: dict[str, Counter[str]] = {rule: Counter() for rule in ("latency", "size")}
    reports: list[Report] = []
    while len(reports) < options.most_verifications:
        report = verify_artifacts(run, target=options.target, format_names=options.formats, wanted=wanted)
        for number, earlier in enumerate(reports, 1):
            seen, worse = judged_by(earlier, report), judged_by(earlier, planted(report))
            for rule, counts in same.items():
                counts[seen[rule].verdict] += 1
            for rule, counts in found.items():
                counts[worse[rule].verdict] += 1
            for one in seen["latency"].findings:
                where = f"{number} and {len(reports) + 1}"
                print(f"{where}: {one.artifact}: {one.verdict}: {one.reason}", file=sys.stderr)
        reports.append(report)
        if same["latency"]["passed"] + same["latency"]["failed"] >= options.comparisons:
            break
    judged = same["latency"]["passed"] + same["latency"]["failed"]
    result = {
        "verifications": len(reports),
        "latencies_judged": judged,
        "same_build": {rule: dict(counts) for rule, counts in same.items()},
        "planted": {rule: dict(counts) for rule, counts in found.items()},
        "machine": reports[-1].machine.as_json(),
        "load_average_before": load,
        "load_average_after": load_average(),
    }
    print(json.dumps(result, indent=2))
    missed = any(counts["passed"] for counts in found.values())
    sys.exit(missed or judged < options.comparisons or any(counts["failed"] for counts in same.values()))


if __name__ == "__main__":
    main()
