"""This module judges what was measured of one artifact and makes a row of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tledge.audit import broken_promises
from tledge.bench.bench import ORIGINAL_NAME, Timed
from tledge.int8_pairs import LARGEST_SUM
from tledge.machine import adds_int8_products_in_16_bits
from tledge.records import Audit, ExportRecord, MachineRecord, Row, Speedup
from tledge.verification import gate
from tledge.verification.foreign.judged import foreign_contract, foreign_warnings
from tledge.verification.measurement import Measurement, Wanted
from tledge.verification.subjects import Subject
from tledge.verification.targets import Target
from tledge.workers.process import WorkerFailed


def row(subject: Subject, measured: Measurement, target: Target, machine: MachineRecord, wanted: Wanted) -> Row:
    """Return the row of an artifact, with a check for every gate whether the artifact ran or not.

    Where the artifact's record can't be read, the gate ``runs`` fails and no other gate is judged. A file that another
    tool made has no record, and its gates are judged all the same.
    """
    record, foreign, found = subject.record, subject.foreign, measured.audits.get(subject.name)
    file = record or foreign
    timed = [timing.timed.get(subject.model) for timing in measured.timings.values()] if file else []
    error = subject.problem or measured.fault(subject.model)
    if error is None:
        error = next((f"timing it: {one}" for one in timed if isinstance(one, WorkerFailed)), None)
    latencies = [one.latency for one in timed if isinstance(one, Timed)]
    judged = next((one for one in timed if isinstance(one, Timed) and one.latency.num_threads == target.threads), None)
    memory = judged.peak_memory_mb if judged else None
    seen = measured.drift_of(subject)
    size_bytes = file.size_bytes if file else 0
    checks = [gate.ran(error)]
    if foreign:
        checks.append(foreign_contract(foreign))
    if record:
        broken = (
            broken_promises(found, record.promise, record.file, record.options)
            if found
            else measured.contracts[subject.name]
        )
        checks.append(gate.promise_gate("promise", broken, record.promise))
        checks.append(gate.promise_gate("contract", measured.contracts[subject.name], "labels and input are the run's"))
    if file:
        checks += gate.budget_checks(
            target,
            machine,
            seen,
            judged.latency if judged else None,
            size_bytes,
            memory,
            must_certify=wanted.certify,
            timed=not wanted.accuracy_only,
        )
    else:
        checks += gate.unread_gates(target)
    speedups = measured.speedups(subject) if file else []
    return Row(
        format=subject.format,
        runtime=subject.runtime.name if subject.runtime else "",
        file=record.file if record else foreign.path.name if foreign else "",
        sha256=file.sha256 if file else "",
        size_bytes=size_bytes,
        audit=found,
        peak_memory_mb=memory,
        latency=judged.latency if judged else None,
        thread_sweep=[latency for latency in latencies if latency.num_threads != target.threads],
        speedups=speedups,
        drift=seen,
        answers=measured.photo_answers(subject),
        checks=checks,
        warnings=[
            *_missed(record),
            *_saturating(subject, found, machine, target),
            *_slower(speedups, found),
            *(foreign_warnings(foreign, found) if foreign else ()),
        ],
        machine=machine,
        foreign=foreign.record if foreign else None,
        error=error,
        verdict=gate.verdict_of(checks),
    )


def _missed(record: ExportRecord | None) -> Iterator[str]:
    """Warn where the search for this artifact missed the drop that it was given as its limit."""
    search = record.search if record else None
    if search is not None and search.missed_by_points is not None:
        yield (
            f"it was searched for a drop of at most {search.max_drop_points:g} points, and the upper end of the 95% interval "
            f"of its drop was {search.missed_by_points:.2f} above that on the validation photos"
        )


def _saturating(subject: Subject, found: Audit | None, machine: MachineRecord, target: Target) -> Iterator[str]:
    """Warn of an ONNX file whose answers depend on the CPU, where this CPU or one of the target cuts sums off."""
    largest, runtime = found.largest_pair_sum if found else None, subject.runtime
    if not largest or largest <= LARGEST_SUM or runtime is None or not runtime.cuts_sums_off:
        return
    way_out = "export it again without --target, or with one that says int8_saturates = true"
    if subject.foreign:
        way_out = "quantize it again with weights of 7 bits (reduce_range in ONNX Runtime's quantizer)"
    sums = f"two of its int8 weights reach {largest} together, and above {LARGEST_SUM} {runtime.name} cuts sums off"
    if adds_int8_products_in_16_bits(machine):
        yield f"{sums} on this CPU, which has no VNNI: {way_out}"
    elif target.int8_saturates:
        yield f"{sums} on a CPU without VNNI, where it answers otherwise than here: {way_out}"


def _slower(speedups: Sequence[Speedup], found: Audit | None) -> list[str]:
    """Warn of a slow quantized artifact: one with integer or hybrid operators that is slower than its float32 artifact."""
    if found is None or not found.names_of("integer", "hybrid"):
        return []
    return [
        f"slower than {one.against} at {one.num_threads} thread{'s' if one.num_threads > 1 else ''}: "
        f"{one.ratio:.2f} times its speed ({one.ratio_interval.low:.2f} to {one.ratio_interval.high:.2f})"
        for one in speedups
        if one.verdict == "slower" and one.against != ORIGINAL_NAME
    ]
