"""Compare an artifact with itself again and again: how often does tledge call the two different?

    python benchmarks/self_comparison.py --run flowers --format tflite-int8

Each comparison is what verify does: the artifact in one process, a copy of it in a second, and a third that gives the
noise floor, in interleaved rounds; everything is started anew for each. The right answer is always "no difference
measured". Exit code 1 where fewer than --min-right of --comparisons are right.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from common import busy_warning, load_average


def main() -> None:
    parser = argparse.ArgumentParser(description="How often an artifact is called different from itself.")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder of the runs")
    parser.add_argument("--run", required=True)
    parser.add_argument("--format", default="tflite-int8")
    parser.add_argument("--protocol", default="standard")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--min-right", type=int, default=18)
    options = parser.parse_args()
    from tledge.bench.bench import Bench, Runnable, Timed
    from tledge.bench.latency import measured_speedup, protocol
    from tledge.bench.photos import lay_out
    from tledge.datasets.run_photos import load_split
    from tledge.machine import this_machine
    from tledge.progress import Silent
    from tledge.run import open_run
    from tledge.runtimes import runtimes_for
    from tledge.workers.place import Here

    load = load_average()
    warning = busy_warning(load)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    run = open_run(options.artifacts, options.run)
    (path,) = run.export_folder(options.format).glob("model.*")
    photos = load_split(run, "test", Silent()).pixels
    found = []
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        size = run.manifest.backbone.input_size
        laid_out = lay_out(Path(folder, "photos"), [photos[:64]], 64, size, Silent(), "laying out photos")
        bench = Bench(Here(Path(folder)), laid_out, len(run.manifest.labels))
        models = [Runnable(name, path, runtimes_for(path)[0].name) for name in ("one", "other")]
        for number in range(options.comparisons):
            timing = bench.latencies(models, options.threads, protocol(options.protocol), Silent())
            one, other = (timing.timed[model] for model in models)
            if not isinstance(one, Timed) or not isinstance(other, Timed) or timing.floor is None:
                raise SystemExit(f"the artifact does not run: {timing.timed}")
            compared = measured_speedup(one.latency, "itself", other.latency, timing.floor)
            found.append(compared)
            print(
                f"{number + 1}: {compared.ratio:.4f} ({compared.ratio_interval.low:.4f} to "
                f"{compared.ratio_interval.high:.4f}), floor {timing.floor.floor:.3f}: {compared.verdict}",
                file=sys.stderr,
            )
    right = sum(compared.verdict == "no difference measured" for compared in found)
    result = {
        "comparisons": len(found),
        "no_difference_measured": right,
        "ratios": [round(compared.ratio, 4) for compared in found],
        "machine": this_machine().as_json(),
        "load_average_before": load,
    }
    print(json.dumps(result, indent=2))
    sys.exit(right < options.min_right)


if __name__ == "__main__":
    main()
