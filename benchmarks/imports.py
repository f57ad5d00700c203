"""Import models with a cold cache of pixels: how long it takes, how much memory, and how well the original does.

    python benchmarks/imports.py --dataset tf_flowers model.onnx model.keras

Each import is a process of its own with an empty cache. Peak memory is the largest of the command's process and of the process
of the model, each by itself. Exit code 1 where an import takes longer than --max-seconds or more than --max-gb.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import busy_warning, load_average


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of tledge import.")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--max-seconds", type=float, default=60.0)
    parser.add_argument("--max-gb", type=float, default=3.0)
    options = parser.parse_args()
    load = load_average()
    if warning := busy_warning(load):
        print(f"warning: {warning}", file=sys.stderr)
    rows = [_measured(model, options.dataset) for model in options.models]
    print(json.dumps({"load_average_before": load, "imports": rows}, indent=2))
    sys.exit(any(row["seconds"] > options.max_seconds or row["peak_gb"] > options.max_gb for row in rows))


def _measured(model: Path, dataset: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TLEDGE_CACHE_DIR": f"{folder}/cache", "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-P", "-m", "tledge", "import", str(model.resolve()), "--dataset", dataset]
        began = time.perf_counter()
        ended = subprocess.run(
            [*command, "--run", "one", "--artifacts", folder, "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        seconds = time.perf_counter() - began
    manifest = json.loads(ended.stdout)["manifest"]
    return {
        "model": model.name,
        "seconds": round(seconds, 1),
        # Linux gives kB. It is the largest process that ended so far, so that the first model of the list is exact.
        "peak_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
        "test_accuracy": manifest["metrics"]["test"]["accuracy"],
        "preparation": manifest["imported"]["preparation"],
        "difference_over_range": manifest["imported"]["max_abs_difference"] / manifest["imported"]["output_range"],
    }


if __name__ == "__main__":
    main()
