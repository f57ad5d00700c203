"""Mutate valid TFLite and ONNX files, and verify every one: the report must be whole, and the row must tell the truth.

    python benchmarks/fuzz.py --mutations 500 --seed 0

A small real run is built and exported to every format. Then, again and again, all its artifacts but one are replaced by
mutants (cut short, bits flipped, bytes and 32-bit numbers overwritten, parts zeroed, moved or repeated), their records
are made to fit, and ``tledge.verify`` runs on the run. For every mutant it must end with a row that either failed with a
reason, or answered every photo with finite numbers; the artifact that was left alone must keep its row, equal each time.
A mutant that does what the valid file does is no fault: most bytes of a file are weights.

Exit code 1 where verify raised, hung, or lost a row.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEFT_ALONE = "tflite-float16"
EXTREMES = (0, 1, -1, 2**31 - 1, -(2**31), 2**16, 127, 255)


def cut(data: bytearray, dice: random.Random) -> None:
    """Keep the beginning."""
    del data[dice.randrange(len(data)) :]


def flip(data: bytearray, dice: random.Random) -> None:
    """Flip some bits."""
    for _ in range(dice.choice((1, 4, 32))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def flip_at_the_start(data: bytearray, dice: random.Random) -> None:
    """Flip bits where a file keeps its structure rather than its weights."""
    for _ in range(dice.choice((1, 4))):
        data[dice.randrange(min(len(data), 4096))] ^= 1 << dice.randrange(8)


def flip_at_the_end(data: bytearray, dice: random.Random) -> None:
    """The same at the other end: flatbuffers grow downwards."""
    for _ in range(dice.choice((1, 4))):
        data[-1 - dice.randrange(min(len(data), 16384))] ^= 1 << dice.randrange(8)


def number(data: bytearray, dice: random.Random) -> None:
    """Overwrite an aligned 32-bit number by an extreme one."""
    for _ in range(dice.choice((1, 3))):
        at = 4 * dice.randrange(len(data) // 4)
        data[at : at + 4] = dice.choice(EXTREMES).to_bytes(4, "little", signed=True)


def zero(data: bytearray, dice: random.Random) -> None:
    """Zero a part."""
    at, size = dice.randrange(len(data)), dice.choice((4, 64, 4096))
    data[at : at + size] = bytes(len(data[at : at + size]))


def repeat(data: bytearray, dice: random.Random) -> None:
    """Put a part a second time, which moves all that follows."""
    at, size = dice.randrange(len(data)), dice.choice((1, 16, 1024))
    data[at:at] = data[at : at + size]


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    cut,
    flip,
    flip_at_the_start,
    flip_at_the_end,
    number,
    zero,
    repeat,
)


def small_run(folder: Path) -> Any:
    """Two classes of noise on the bundled backbone, exported to every format."""
    import numpy as np
    from PIL import Image

    from tledge import build, export

    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 60), ("light", 190)):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(24):
            noise = np.clip(rng.normal(brightness, 40, (96, 96, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / "photos" / name / f"{index:02}.png")
    run = build(str(folder / "photos"), backbone="bundled", run="noise", artifacts=folder / "artifacts")
    export(run, ["all"], calibration_samples=10)
    return run


@dataclass
class Tally:
    """What became of the mutants."""

    mutants: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    left_alone: Any = None

    def count(self, report: Any, formats: set[str]) -> None:
        """Take the rows of one verification."""
        rows = {row.format: row for row in report.rows}
        if set(rows) != formats:
            self.faults.append(f"rows are missing: {formats - set(rows)}")
        alone = rows.pop(LEFT_ALONE).drift
        self.left_alone = self.left_alone or alone
        if alone is None or alone != self.left_alone:
            self.faults.append(f"{LEFT_ALONE}, which was left alone, came out otherwise")
        for name, row in rows.items():
            self.mutants += 1
            if row.error:
                self.outcomes["did not run"] += 1
                self.reasons[row.error.split(":")[0][:60]] += 1
            else:
                self.outcomes["ran, and a gate failed" if row.verdict == "failed" else "ran like a valid file"] += 1
                if row.drift is None or row.drift.num_photos != report.num_test_photos:
                    self.faults.append(f"{name}: no error, and not every photo answered")


def mutate(run: Any, records: dict[str, Any], valid: dict[str, bytes], dice: random.Random) -> None:
    """Replace every artifact but one by a mutant, and make its record fit."""
    from tledge.files import sha256_file

    for name, record in records.items():
        data = bytearray(valid[name])
        if name != LEFT_ALONE:
            dice.choice(MUTATIONS)(data, dice)
        path = run.export_folder(name) / record.file
        path.write_bytes(data)
        changed = record.model_copy(update={"sha256": sha256_file(path), "size_bytes": len(data)})
        changed.save(run.export_folder(name) / "export.json")


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutated model files, each verified.")
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from tledge import verify
    from tledge.bench.bench import TimeLimits
    from tledge.records import Report
    from tledge.verification.measurement import Wanted

    dice = random.Random(options.seed)  # noqa: S311 - repeatable, and no secret
    tally = Tally()
    wanted = Wanted(accuracy_only=True, time_limits=TimeLimits(start_s=20.0, photo_s=1.0))
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        run = small_run(Path(folder))
        records = dict(run.exports())
        valid = {name: (run.export_folder(name) / record.file).read_bytes() for name, record in records.items()}
        while tally.mutants < options.mutations:
            mutate(run, records, valid, dice)
            started = time.perf_counter()
            try:
                verify(run, wanted=wanted)
                tally.count(Report.load(run.reports() / "report.json", ""), set(records))
            except Exception as error:  # whatever it is, verify did not survive
                first = (str(error).splitlines() or [""])[0]
                tally.faults.append(f"after {tally.mutants} mutants: {type(error).__name__}: {first}")
                tally.mutants += len(records) - 1
            tally.slowest_s = max(tally.slowest_s, time.perf_counter() - started)
            print(f"{tally.mutants} mutants, {len(tally.faults)} faults", file=sys.stderr)
    result = {
        "mutants": tally.mutants,
        "outcomes": dict(tally.outcomes),
        "most_frequent_reasons": dict(tally.reasons.most_common(12)),
        "slowest_verification_s": round(tally.slowest_s, 1),
        "faults": tally.faults,
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
