"""Reports as a verification writes them, made from drawn answers: consistent figures, without measuring anything."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import binomtest

from tledge.records import (
    AttributionStep,
    Audit,
    Check,
    Choice,
    ClassDrift,
    DeviceRecord,
    Drift,
    FlippedAnswer,
    FlippedPhoto,
    Flips,
    Interval,
    Latency,
    LayerError,
    LayerReport,
    Lost,
    MachineRecord,
    NoiseFloor,
    OperatorCount,
    OriginalRow,
    PhotoAnswers,
    Protocol,
    Report,
    Row,
    Speedup,
    TargetRecord,
    TensorRecord,
)

FLOWERS = ["dandelion", "daisy", "tulips", "sunflowers", "roses"]
CPU = "ACME Example 9000 @ 2.40GHz"
FLOAT, HALF, DYNAMIC = "tflite-float32 on litert", "tflite-float16 on litert", "tflite-dynamic on litert"
INT8, ONNX, BROKEN = "tflite-int8 on litert", "onnx-float32 on onnxruntime", "onnx-int8 on onnxruntime"
MEDIANS_MS = {FLOAT: 6.1, HALF: 6.15, DYNAMIC: 8.4, INT8: 2.9, ONNX: 5.2}
SIZES = {FLOAT: 8_863_220, HALF: 4_476_408, DYNAMIC: 2_478_112, INT8: 2_690_584, ONNX: 8_934_501, BROKEN: 2_480_020}
LOST = {FLOAT: 0.0, HALF: 0.002, DYNAMIC: 0.03, INT8: 0.02, ONNX: 0.0}  # of the right answers
WON = {FLOAT: 0.0, HALF: 0.02, DYNAMIC: 0.05, INT8: 0.2, ONNX: 0.0}  # of the wrong ones
Ints = npt.NDArray[np.int64]


def wilson(right: int, total: int) -> Interval:
    """Wilson's 95% interval."""
    found = binomtest(right, total).proportion_ci(method="wilson")
    return Interval(low=float(found.low), high=float(found.high))


def _flips(truth: Ints, before: Ints, after: Ints) -> Flips:
    changed = before != after
    return Flips(
        right_to_wrong=int(np.sum(changed & (before == truth))),
        wrong_to_right=int(np.sum(changed & (after == truth))),
        wrong_to_wrong=int(np.sum(changed & (before != truth) & (after != truth))),
    )


def _drop(flips: Flips, total: int) -> tuple[float, Interval]:
    """The drop in points with Wald's interval: a shape to draw, not a statistic to trust."""
    lost, won = flips.right_to_wrong, flips.wrong_to_right
    drop = 100 * (lost - won) / total
    half = 196 * np.sqrt(lost + won + 1) / total
    return drop, Interval(low=float(drop - half), high=float(drop + half))


def _confusions(truth: Ints, answers: Ints) -> list[tuple[int, int, int]]:
    counted = Counter(zip(truth.tolist(), answers.tolist(), strict=True))
    return [(actual, predicted, count) for (actual, predicted), count in sorted(counted.items())]


def drift(truth: Ints, before: Ints, after: Ints, labels: Sequence[str]) -> Drift:
    """Drift of answers ``after`` against ``before``, class indices (N,)."""
    total = len(truth)
    flips = _flips(truth, before, after)
    drop, interval = _drop(flips, total)
    per_class = []
    for index, label in enumerate(labels):
        mine = truth == index
        here, count = _flips(truth[mine], before[mine], after[mine]), int(np.sum(mine))
        loss = _drop(here, count) if count else (None, None)
        per_class.append(
            ClassDrift(
                label=label,
                num_photos=count,
                original_recall=float(np.mean(before[mine] == index)) if count else None,
                recall=float(np.mean(after[mine] == index)) if count else None,
                recall_drop_points=loss[0],
                recall_drop_points_interval=loss[1],
                flips=here,
            )
        )
    right_before, right_after, agree = (
        int(np.sum(part)) for part in (before == truth, after == truth, before == after)
    )
    changed = 1 - agree / total
    return Drift(
        num_photos=total,
        original_accuracy=right_before / total,
        original_accuracy_interval=wilson(right_before, total),
        accuracy=right_after / total,
        accuracy_interval=wilson(right_after, total),
        accuracy_drop_points=drop,
        accuracy_drop_points_interval=interval,
        mcnemar_p_value=float(
            binomtest(flips.right_to_wrong, max(1, flips.right_to_wrong + flips.wrong_to_right)).pvalue
        ),
        agreement=agree / total,
        agreement_interval=wilson(agree, total),
        flips=flips,
        original_macro_f1=right_before / total - 0.004,
        macro_f1=right_after / total - 0.005,
        confusions=_confusions(truth, after),
        per_class=per_class,
        max_abs_probability_difference=0.0001 + 6 * changed,
        mean_abs_probability_difference=1e-6 + changed / 6,
        p99_abs_probability_difference=1e-5 + 2 * changed,
        mean_kl_divergence_nats=changed / 9,
        mean_logit_cosine=None,
        original_expected_calibration_error=0.021,
        expected_calibration_error=0.021 + changed / 3,
        original_mean_confidence=0.93,
        mean_confidence=0.93 - changed / 5,
    )


def latency(
    median_ms: float, num_threads: int = 2, seed: int = 0, rounds: int = 25, reference_ms: float | None = 0.065
) -> Latency:
    """A right-skewed distribution about a median."""
    draw = np.random.default_rng(seed)
    times = median_ms * (0.94 + draw.gamma(2.0, 0.035, (rounds, 20)))
    p25, p50, p75, p90, p95, p99 = (float(value) for value in np.percentile(times, [25, 50, 75, 90, 95, 99]))
    return Latency(
        num_threads=num_threads,
        runs=times.size,
        rounds=rounds,
        warmup_runs=40,
        is_stable=True,
        mean_ms=float(np.mean(times)),
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        iqr_ms=p75 - p25,
        quantiles_ms=np.percentile(times, np.arange(0, 101, 5)).tolist(),
        round_medians_ms=np.median(times, axis=1).tolist(),
        load_ms=3.2,
        first_inference_ms=2.1 * median_ms,
        reference_ms=reference_ms,
    )


def _audit(artifact: str) -> Audit:
    integer = artifact in (INT8, BROKEN)
    kind, data_type = (
        ("integer", "int8") if integer else ("hybrid", "int8") if artifact == DYNAMIC else ("float", "float32")
    )
    return Audit(
        operators=[
            OperatorCount(name="CONV_2D", kind=kind, data_type=data_type, count=35),
            OperatorCount(name="DEPTHWISE_CONV_2D", kind=kind, data_type=data_type, count=17),
            OperatorCount(name="SOFTMAX", kind=kind, data_type=data_type, count=1),
            OperatorCount(name="RESHAPE", kind="layout", data_type=data_type, count=1),
        ],
        weight_types={data_type: SIZES[artifact] - 120_000, "int32": 60_000},
        inputs=[
            TensorRecord(
                name="pixels", shape=[1, 224, 224, 3], data_type="uint8",
                scale=1.0 if integer else None, zero_point=0 if integer else None,
            )
        ],
        outputs=[TensorRecord(name="probabilities", shape=[1, 5], data_type="float32")],
        file_versions={"schema": 3} if "tflite" in artifact else {"opset": 17, "ir": 8},
        float_constants=[] if integer else ["classifier/kernel (25600 bytes)"],
        num_parameters=2_230_277,
        num_macs=299_600_000,
        integer_mac_share=1.0 if integer else 0.0,
        weight_granularity={"per-channel": 53, "per-tensor": 1} if integer else {},
    )  # fmt: skip


def _checks(artifact: str, drop: Drift, p95_ms: float | None, certify: bool) -> list[Check]:
    interval = drop.accuracy_drop_points_interval
    within, sure = drop.accuracy_drop_points <= 1.0, interval.high <= 1.0
    asked = "failed" if certify else "passed"
    verdict = "certified" if sure else asked if within else "failed"
    seen = f"drop {drop.accuracy_drop_points:.2f} points, 95% interval {interval.low:.2f} to {interval.high:.2f}"
    reason = {
        "certified": "certified, the whole interval is inside the budget of 1",
        "passed": "inside the budget of 1, but 1,240 more test photos would be needed to certify it",
        "failed": "over the budget of 1, significantly: the whole interval lies above it",
    }[verdict]
    reason = f"{seen}: {reason}"
    timed = "not judged" if p95_ms is None else "passed"
    where = "not measured: accuracy only" if p95_ms is None else f"{p95_ms:.4g} ms, batch 1: inside the budget of 50"
    plain = Check(name="runs", limit=None, measured=None, verdict="passed", reason="answers every test photo")
    size = SIZES[artifact] / 1e6
    return [
        plain,
        plain.model_copy(update={"name": "promise", "reason": "keeps what its format promises"}),
        Check(
            name="max_accuracy_drop_points", limit=1.0, measured=drop.accuracy_drop_points, verdict=verdict, reason=reason
        ),
        Check(name="max_size_mb", limit=20.0, measured=size, verdict="passed", reason=f"{size:.4g} MB, file size: inside"),
        Check(name="max_p95_latency_ms", limit=50.0, measured=p95_ms, verdict=timed, reason=where),
        Check(
            name="max_memory_mb", limit=500.0, measured=None, verdict="not judged",
            reason="measured on x86_64, and the target is aarch64",
        ),
    ]  # fmt: skip


def _speedups(artifact: str, mine: Latency, times: dict[str, Latency], original: Latency) -> list[Speedup]:
    made = []
    reference = FLOAT if "litert" in artifact else ONNX
    others = [] if artifact == reference else [(reference, times[reference])]
    for name, other in [*others, ("original", original)]:
        ratio = other.p50_ms / mine.p50_ms
        verdict = "faster" if ratio > 1.05 else "slower" if ratio < 0.95 else "no difference measured"
        made.append(
            Speedup(
                against=name, num_threads=mine.num_threads, ratio=ratio,
                ratio_interval=Interval(low=0.98 * ratio, high=1.02 * ratio), verdict=verdict,
            )
        )  # fmt: skip
    return made


def thumbnail(seed: int) -> str:
    """A small JPEG, base64."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(40, 220, (4, 4, 3), np.uint8))
    out = io.BytesIO()
    small.resize((48, 48), Image.Resampling.BICUBIC).save(out, "JPEG", quality=60)
    return base64.b64encode(out.getvalue()).decode()


def sample_report(
    *,
    labels: Sequence[str] = FLOWERS,
    certify: bool = False,
    timed: bool = True,
    sweep: bool = True,
    layers: bool = True,
    broken: bool = True,
    num_photos: int = 550,
    num_gallery: int = 36,
    seed: int = 2,
    run: str = "flowers",
    error: str = "crashed: ended by SIGSEGV while answering photo 17 of 550",
) -> Report:
    """A verification of six artifacts; ``broken``: whether the sixth did not run."""
    draw = np.random.default_rng(seed)
    classes = len(labels)
    truth = draw.integers(0, classes, num_photos)
    before = np.where(draw.random(num_photos) < 0.1, draw.integers(0, classes, num_photos), truth)
    original_latency = latency(31.0, seed=99)
    times = {name: latency(median, seed=index) for index, (name, median) in enumerate(MEDIANS_MS.items())}
    rows, answers = [], {}
    for index, name in enumerate(LOST):
        share = np.where(before == truth, LOST[name], WON[name])
        others = np.where(draw.random(num_photos) < 0.5, truth, draw.integers(0, classes, num_photos))
        wrong = (truth + draw.integers(1, classes, num_photos)) % classes
        after = np.where(draw.random(num_photos) < share, np.where(before == truth, wrong, others), before)
        answers[name] = after
        found, mine = drift(truth, before, after, labels), times[name] if timed else None
        checks = _checks(name, found, mine.p95_ms if mine else None, certify)
        verdicts = [check.verdict for check in checks]
        format_name, runtime = name.split(" on ")
        slow = ["slower than tflite-float32 on litert at 2 threads: 0.73 times its speed (0.71 to 0.74)"]
        rows.append(
            Row(
                format=format_name,
                runtime=runtime,
                file="model.tflite" if runtime == "litert" else "model.onnx",
                sha256=f"{index + 1:x}" * 64,
                size_bytes=SIZES[name],
                audit=_audit(name),
                peak_memory_mb=41.0 + 9 * index if timed else None,
                latency=mine,
                thread_sweep=[latency(MEDIANS_MS[name] * 1.7, 1, seed=index + 50)] if sweep and timed else [],
                speedups=_speedups(name, mine, times, original_latency) if mine else [],
                drift=found,
                answers=PhotoAnswers(
                    wrong=np.flatnonzero(after != truth).tolist(), changed=np.flatnonzero(after != before).tolist()
                ),
                checks=checks,
                warnings=slow if name == DYNAMIC and timed else [],
                error=None,
                verdict="failed" if "failed" in verdicts else "certified" if "certified" in verdicts else "passed",
            )
        )
    if broken:
        rows.append(_broken(error))
    photos = _photos(truth, before, answers, labels, num_gallery, draw)
    changed = int(np.sum(np.any([after != before for after in answers.values()], axis=0)))
    everything = [row.verdict for row in rows]
    right = int(np.sum(before == truth))
    return Report(
        run=run,
        manifest_sha256="ab" * 32,
        created_utc="2026-03-01T12:00:00Z",
        tledge_version="0.1.0",
        dataset="tf_flowers",
        dataset_fingerprint_sha256="cd" * 32,
        test_split_sha256="ef" * 32,
        seed=13,
        backbone="bundled",
        labels=list(labels),
        target=TargetRecord.model_validate(TARGET),
        overrides={"max_size_mb": 20.0},
        certify=certify,
        machine=MachineRecord(
            cpu=CPU, architecture="x86_64", logical_cores=4, system="Linux 6.1.0", python="3.11.7",
            cpu_flags=["avx2", "fma", "avx512_vnni"], governor=None, load_average=0.21,
        ),
        protocol=Protocol(name="standard", description="25 rounds of up to 20 inferences of each artifact, interleaved",
                          pinned_cores=[0, 1]) if timed else None,
        num_test_photos=num_photos,
        original=OriginalRow(
            accuracy=right / num_photos,
            accuracy_interval=wilson(right, num_photos),
            device=DeviceRecord(kind="CPU", name=CPU, count=1),
            confusions=_confusions(truth, before),
            size_bytes=11_240_118,
            cpu_drift=drift(truth, before, before, labels) if timed else None,
            cpu_latency=original_latency if timed else None,
            cpu_thread_sweep=[latency(44.0, 1, seed=98)] if sweep and timed else [],
            peak_memory_mb=612.0 if timed else None,
        ),
        rows=rows,
        noise_floors=[
            NoiseFloor(artifact=FLOAT, num_threads=threads, ratio=1.004,
                       ratio_interval=Interval(low=0.991, high=1.016), floor=0.03)
            for threads in ((2, 1) if sweep else (2,))
        ] if timed else [],
        attribution=_attribution(num_photos) if timed else [],
        layers=[_layers()] if layers else [],
        num_flipped_photos=changed,
        flipped_photos=photos,
        choice=Choice(
            best=INT8,
            reason="of those that keep every budget: the lowest p95 latency, then the smallest file",
            others=[
                Lost(artifact=row.artifact, reason="p95 6.80 ms against 3.26 ms" if row.error is None else "runs: it crashed")
                for row in rows if row.artifact != INT8
            ],
        ),
        warnings=["target 'cpu': these limits are guesses: max_p95_latency_ms, max_memory_mb"],
        library_versions={"tensorflow": "2.21.0", "ai-edge-litert": "2.3.0", "onnxruntime": "1.31.0", "numpy": "2.4.1"},
        wall_times_s={"answers": 12.4, "attribution": 8.1, "latency": 61.0},
        verdict="failed" if "failed" in everything else "certified" if set(everything) == {"certified"} else "passed",
    )  # fmt: skip


TARGET = {
    "name": "cpu",
    "description": "any CPU, two threads",
    "threads": 2,
    "runtimes": ["litert", "onnxruntime"],
    "architectures": [],
    "cpu_contains": "",
    "budget": {
        "max_accuracy_drop_points": 1.0, "max_p95_latency_ms": 50.0, "max_size_mb": 20.0, "max_memory_mb": 500.0,
    },
    "basis": {
        "max_accuracy_drop_points": "requirement", "max_p95_latency_ms": "guess", "max_size_mb": "requirement",
        "max_memory_mb": "guess",
    },
}  # fmt: skip


def _broken(error: str) -> Row:
    ran = Check(name="runs", limit=None, measured=None, verdict="failed", reason=error)
    missing = "not measured: the artifact did not run to its end"
    return Row(
        format="onnx-int8",
        runtime="onnxruntime",
        file="model.onnx",
        sha256="0" * 64,
        size_bytes=SIZES[BROKEN],
        audit=None,
        peak_memory_mb=None,
        latency=None,
        thread_sweep=[],
        speedups=[],
        drift=None,
        checks=[
            ran,
            Check(name="max_accuracy_drop_points", limit=1.0, measured=None, verdict="failed", reason=missing),
        ],
        warnings=[],
        error=error,
        verdict="failed",
    )


def _photos(
    truth: Ints,
    before: Ints,
    answers: dict[str, Ints],
    labels: Sequence[str],
    limit: int,
    draw: np.random.Generator,
) -> list[FlippedPhoto]:
    changed = np.flatnonzero(np.any([after != before for after in answers.values()], axis=0))
    return [
        FlippedPhoto(
            id=f"{labels[truth[row]]}/photo-{row:04d}.jpg",
            content_sha256=f"{int(row):064x}",
            label=labels[truth[row]],
            original_predicted=labels[before[row]],
            original_confidence=float(draw.uniform(0.34, 0.9)),
            answers=[
                FlippedAnswer(artifact=name, predicted=labels[after[row]], confidence=float(draw.uniform(0.34, 0.9)))
                for name, after in answers.items()
                if after[row] != before[row]
            ],
            thumbnail_jpeg_base64=thumbnail(int(row)),
        )
        for row in changed[:limit]
    ]


def _attribution(num_photos: int) -> list[AttributionStep]:
    on_cpu = "the original on this CPU"
    steps = [
        ("all", "device", "the original on the training device", on_cpu, num_photos, 0.0, 1.0, 2e-7, ""),
        (FLOAT, "conversion", on_cpu, f"{FLOAT}, reference kernels", 200, 0.0, 1.0, 3e-7, ""),
        (FLOAT, "kernels", f"{FLOAT}, reference kernels", f"{FLOAT}, xnnpack kernels", 200, 0.0, 1.0, 2e-7, ""),
        (INT8, "quantization", f"{FLOAT}, reference kernels", f"{INT8}, reference kernels", 200, 0.5, 0.965, 0.011, ""),
        (INT8, "kernels", f"{INT8}, reference kernels", f"{INT8}, xnnpack kernels", 200, -0.5, 0.99, 0.0021, ""),
        (BROKEN, "quantization", f"{ONNX}, no optimization", f"{BROKEN}, no optimization", 0, None, None, None,
         "not measured: one of the two did not run on these kernels"),
    ]  # fmt: skip
    return [
        AttributionStep(
            artifact=artifact, step=step, before=before, after=after, num_photos=photos,
            accuracy_drop_points=drop, agreement=agreement, mean_abs_probability_difference=difference, note=note,
        )
        for artifact, step, before, after, photos, drop, agreement, difference, note in steps
    ]  # fmt: skip


def _layers() -> LayerReport:
    found = [
        LayerError(
            name=f"MobilenetV2/expanded_conv_{index}/depthwise/Relu6;batch_norm",
            operator="DEPTHWISE_CONV_2D" if index % 2 else "CONV_2D",
            sqnr_db=None if index == 39 else 11.0 + 0.7 * index,
            cosine=min(1.0, 0.955 + 0.0011 * index),
            own_sqnr_db=None if index == 39 else 14.25 + 0.7 * index,
        )
        for index in range(40)
    ]
    return LayerReport(
        artifact=INT8, against=FLOAT, num_photos=16, layers=found, note="2 layers were fused and could not be compared"
    )
