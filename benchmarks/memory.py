"""The memory that tledge verify --accuracy-only or tledge export takes, run by run.

    python benchmarks/memory.py --runs digits mnist
    python benchmarks/memory.py --runs resnet --export onnx-int8 --max-mb 3000

A verification must not grow with the test split; it takes runs with tflite-int8 exported. What counts is memory of the
process's own (RssAnon, sampled 50 times a second); pages of mapped files, which the system takes back where others need
them, are told apart. Linux only. Prints one JSON object; exit code 1 where the largest exceeds the smallest by more than
--max-growth-mb, or where both kinds together exceed --max-mb.
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


def measure(run: str, artifacts: Path, exported: str | None) -> dict[str, Any]:
    """Peaks of one verification, or of one export in a single process, in MB."""
    command = [sys.executable, "-m", "tledge"]
    if exported is None:
        command += ["verify", "--accuracy-only", "--json", "--format", "tflite-int8", "--max-drop", "100"]
    else:
        command += ["export", "--format", exported, "--jobs", "1"]
    command += ["--run", run, "--artifacts", str(artifacts)]
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
    parser = argparse.ArgumentParser(description="Memory of tledge verify --accuracy-only, or of tledge export.")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder of the runs")
    parser.add_argument("--runs", nargs="+", required=True)
    parser.add_argument("--export", metavar="FORMAT", help="export this format instead of verifying")
    parser.add_argument("--max-growth-mb", type=float, default=20.0)
    parser.add_argument("--max-mb", type=float, default=float("inf"))
    options = parser.parse_args()
    found = [measure(run, options.artifacts, options.export) for run in options.runs]
    print(json.dumps(found, indent=2))
    own = [one["own_mb"] for one in found]
    most = max(one["own_mb"] + one["mapped_files_mb"] for one in found)
    sys.exit(max(own) - min(own) > options.max_growth_mb or most > options.max_mb)


if __name__ == "__main__":
    main()
