"""The memory that tledge verify --accuracy-only takes, run by run: it must not grow with the test split.

    python benchmarks/memory.py --runs digits mnist

Takes runs with tflite-int8 exported. What counts is memory of the process's own (RssAnon, sampled 50 times a second);
pages of the mapped caches, which the system takes back where others need them, are told apart. Linux only. Prints one JSON
object; exit code 1 where the largest exceeds the smallest by more than --max-growth-mb.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import project_environment

KINDS = ("RssAnon", "RssFile")


def measure(run: str, artifacts: Path) -> dict[str, Any]:
    """Peaks of one verification, in MB."""
    command = [sys.executable, "-m", "tledge", "verify", "--accuracy-only", "--json", "--format", "tflite-int8"]
    command += ["--run", run, "--artifacts", str(artifacts), "--max-drop", "100"]
    peaks = dict.fromkeys(KINDS, 0)
    with subprocess.Popen(
        command, env=project_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(value.split()[0]))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode} of: {' '.join(command)}")
    splits = json.loads((artifacts / run / "manifest.json").read_text())["splits"]
    own, mapped = (round(peaks[kind] / 1000, 1) for kind in KINDS)
    return {"run": run, "test_photos": splits["test"]["num_photos"], "own_mb": own, "mapped_files_mb": mapped}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Memory of tledge verify --accuracy-only over test splits of any size."
    )
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder of the runs")
    parser.add_argument("--runs", nargs="+", required=True)
    parser.add_argument("--max-growth-mb", type=float, default=20.0)
    options = parser.parse_args()
    found = [measure(run, options.artifacts) for run in options.runs]
    print(json.dumps(found, indent=2))
    own = [one["own_mb"] for one in found]
    sys.exit(max(own) - min(own) > options.max_growth_mb)


if __name__ == "__main__":
    main()
