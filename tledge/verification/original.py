"""The original's SavedModel on this CPU, in its own process: ``python -m tledge.verification.original JOB PARENT_PID``.

The job is that of an artifact's worker; TensorFlow answers instead of a device runtime. All photos are
answered in batches, and single photos are timed.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tledge.runtimes.worker import Job, Result, die_with_parent, peak_memory_bytes
from tledge.tensorflow_setup import tensorflow

_BATCH = 32


def run(job: Job) -> Result:
    """Logits of every photo to ``job.outputs``, and the latency of ``job.min_timed_runs`` single photos."""
    tf = tensorflow()
    tf.config.threading.set_intra_op_parallelism_threads(job.num_threads)
    started = time.perf_counter_ns()
    serve = tf.saved_model.load(job.artifact).signatures["serving_default"]
    load_ns = time.perf_counter_ns() - started
    shape = (job.num_photos, job.input_size, job.input_size, 3)
    pixels = np.memmap(job.pixels, np.uint8, "r", shape=shape)
    logits = [
        serve(pixels=tf.constant(pixels[i : i + _BATCH]))["logits"].numpy() for i in range(0, job.num_photos, _BATCH)
    ]
    latencies_ns = []
    for number in range(job.warmup_runs + job.min_timed_runs):
        photo = np.array(pixels[number % job.num_photos][None])
        began = time.perf_counter_ns()
        serve(pixels=tf.constant(photo))["probabilities"].numpy()
        if number >= job.warmup_runs:
            latencies_ns.append(time.perf_counter_ns() - began)
    with Path(job.outputs).open("wb") as out:
        np.save(out, np.concatenate(logits))
    return Result(load_ns, latencies_ns, peak_memory_bytes())


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    die_with_parent(int(sys.argv[2]))
    Path(job.result).write_text(json.dumps(asdict(run(job))))


if __name__ == "__main__":
    main()
