"""The head on frozen features against scikit-learn's logistic regression, by size, balance and number of classes.

    python benchmarks/small_data.py --features ~/features

Both get the same photos, split by tledge's rule, and the same features, which are computed at the first call and kept in the
folder. The head is that of the default recipe; the logistic regression has the C of nine, from 1e-4 to 1e4, of the highest
validation accuracy, and of those the one of the lowest validation loss. A cell is a data set of so many photos, and what is
said of it is over the test photos of all seeds, paired. Prints a Markdown table; ends with exit code 1 where a cell's interval
lies wholly below zero.

Photos that the cell did not take tell more than its few test photos do. On those (at the cell's balance) the mean difference
is given too; which C the luck of a handful of validation photos chose shows there as well.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import itertools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import REPOSITORY, begun

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

# Data set, backbone, photos that are read, and numbers of classes. Made features need neither data nor backbone.
SOURCES = {
    "tf_flowers": ("tf_flowers", "", 3_670, (2, 5)),
    "mnist": ("mnist", "bundled", 6_000, (2, 10)),
    "cifar10": ("cifar10", "bundled", 6_000, (2, 10)),
    "made": ("", "", 16_000, (20, 100)),
}
SIZES, BALANCES = (20, 60, 200, 600, 3_000), (1, 7, 50)
_FRESH = 1_000  # photos at most beside the cell's own
_LEAST = 3  # photos of a class: two to train on
_DIMENSIONS, _HIDDEN = 1280, 40  # of made features


@dataclass(frozen=True)
class Cell:
    """One data set: ``size`` photos of ``num_classes`` classes, the largest ``balance`` times the smallest."""

    source: str
    num_classes: int
    size: int
    balance: int


@dataclass(frozen=True)
class Answers:
    """Which test photos, and which fresh ones, each is right on; and the accuracy of the most frequent class, test photos."""

    head: npt.NDArray[np.bool_]
    regression: npt.NDArray[np.bool_]
    fresh_head: npt.NDArray[np.bool_]
    fresh_regression: npt.NDArray[np.bool_]
    frequent: npt.NDArray[np.bool_]


def cells() -> Iterator[Cell]:
    """All of the matrix: every class has its photos, and there are so many in the source."""
    for source, (_, _, _, counts) in SOURCES.items():
        for num_classes, size, balance in itertools.product(counts, SIZES, BALANCES):
            if size >= _LEAST * num_classes:
                yield Cell(source, num_classes, size, balance)


def features_of(source: str, folder: Path) -> tuple[Floats, Labels]:
    """Features float32 (N, 1280) and labels (N,), from the folder if they are there."""
    path = folder / f"{source}.npz"
    if not path.is_file():
        dataset, backbone, num_photos, counts = SOURCES[source]
        found = _computed(dataset, backbone, num_photos) if dataset else _made(num_photos, max(counts))
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, features=found[0], labels=found[1])
    with np.load(path) as kept:
        return kept["features"], kept["labels"]


def _computed(dataset: str, handle: str, num_photos: int) -> tuple[Floats, Labels]:
    from tledge import preprocessing
    from tledge.backbones import DEFAULT, open_backbone
    from tledge.backbones.fast_inference import answers, convert_function
    from tledge.datasets import open_source

    backbone = open_backbone(handle or DEFAULT)
    labels: list[int] = []

    def batches() -> Iterator[npt.NDArray[np.uint8]]:
        photos = itertools.islice(open_source(dataset).photos(), num_photos)
        while batch := list(itertools.islice(photos, 32)):
            labels.extend(photo.label for photo in batch)
            yield np.stack([preprocessing.resize(_decoded(photo.data), backbone.input_size) for photo in batch])

    def _decoded(data: Any) -> Any:
        return preprocessing.decode(data) if isinstance(data, bytes) else preprocessing.to_rgb(data)

    model = convert_function(backbone.features_of_pixels, backbone.input_size)
    return np.concatenate(list(answers(model, batches()))), np.array(labels, np.int64)


def _made(num_photos: int, num_classes: int) -> tuple[Floats, Labels]:
    """Classes around their own points of a space of few dimensions, seen through a layer with ReLU and noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_photos) % num_classes
    centres, layer = rng.normal(0, 0.6, (num_classes, _HIDDEN)), rng.normal(0, _HIDDEN**-0.5, (_HIDDEN, _DIMENSIONS))
    spread = rng.normal(0, _HIDDEN**-0.5, (_HIDDEN, _HIDDEN))
    hidden = centres[labels] + rng.normal(0, 1, (num_photos, _HIDDEN)) @ spread
    return np.maximum(hidden @ layer + rng.normal(0, 0.5, (num_photos, _DIMENSIONS)), 0).astype(np.float32), labels


def class_counts(cell: Cell) -> npt.NDArray[np.int64]:
    """Photos of each class, the most frequent first, in a geometric series."""
    shares = np.geomspace(1, 1 / cell.balance, cell.num_classes)
    return np.maximum(np.floor(cell.size * shares / shares.sum()), _LEAST).astype(np.int64)


def chosen(cell: Cell, features: Floats, labels: Labels, seed: int) -> dict[str, tuple[Labels, Labels]] | None:
    """Rows and labels of each split, and of fresh photos; None where a class has too few."""
    from tledge.datasets.splits import TRAIN, VALIDATION, fraction

    rng = np.random.default_rng([seed, cell.size, cell.balance, cell.num_classes])
    counts = class_counts(cell)
    found: dict[str, list[tuple[Labels, int]]] = {"train": [], "validation": [], "test": [], "fresh": []}
    pools = [
        rng.permutation(np.flatnonzero(labels == label)) for label in rng.permutation(labels.max() + 1)[: len(counts)]
    ]
    if any(len(pool) < count for pool, count in zip(pools, counts, strict=True)):
        return None
    num_fresh = min(
        _FRESH, *((len(pool) - count) * counts.sum() / count for pool, count in zip(pools, counts, strict=True))
    )
    for label, (rows, count) in enumerate(zip(pools, counts, strict=True)):
        place = np.array([fraction(hashlib.sha256(features[row].tobytes()).digest(), seed) for row in rows])
        # Two photos to train on come first, wherever the seed puts the others.
        first = np.flatnonzero(place < TRAIN)[:2]
        order = np.concatenate([first, np.setdiff1d(np.arange(len(rows)), first)])
        own, where = rows[order][:count], place[order][:count]
        found["train"].append((own[where < TRAIN], label))
        found["validation"].append((own[(where >= TRAIN) & (where < TRAIN + VALIDATION)], label))
        found["test"].append((own[where >= TRAIN + VALIDATION], label))
        found["fresh"].append((rows[order][count : count + round(num_fresh * count / counts.sum())], label))
    joined = {
        split: (
            np.concatenate([rows for rows, _ in parts]),
            np.concatenate([np.full(len(rows), label) for rows, label in parts]),
        )
        for split, parts in found.items()
    }
    for split in ("validation", "test"):  # a data set so small that a split is empty is refused by build
        if not len(joined[split][0]):
            return None
    return joined


def compared(cell: Cell, seed: int, folder: Path, recipe: Any) -> Answers | None:
    """Train both on one cell; None where its photos are too few."""
    from tledge.cache import RowCache
    from tledge.progress import Silent
    from tledge.training.fit import fit_head

    features, labels = features_of(cell.source, folder)
    rows = chosen(cell, features, labels, seed)
    if rows is None:
        return None
    (train, truth), (validation, validation_truth) = rows["train"], rows["validation"]
    seen = np.concatenate([train, validation])
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as cache_folder:
        os.environ["TLEDGE_CACHE_DIR"] = cache_folder
        cache = RowCache("features", (features.shape[1],), np.float32)
        keys = [int(number).to_bytes(32, "little") for number in range(len(seen))]
        cache.add(zip(keys, features[seen], strict=True), len(seen))
        head = fit_head(
            cache.rows(keys), np.concatenate([truth, validation_truth]), np.arange(len(train)),
            np.arange(len(train), len(seen)), cell.num_classes, recipe, seed, Silent(),
        )  # fmt: skip
    answer = regression(features[train], truth, features[validation], validation_truth)
    (test, test_truth), (fresh, fresh_truth) = rows["test"], rows["fresh"]
    return Answers(
        head=head.logits(features[test]).argmax(axis=1) == test_truth,
        regression=answer(features[test]) == test_truth,
        fresh_head=head.logits(features[fresh]).argmax(axis=1) == fresh_truth,
        fresh_regression=answer(features[fresh]) == fresh_truth,
        frequent=test_truth == np.bincount(truth).argmax(),
    )


def regression(train: Floats, labels: Labels, validation: Floats, validation_labels: Labels) -> Any:
    """A function of features to classes: the logistic regression whose C does best on the validation photos.

    Each is begun from the one of the next smaller C: begun from zero, it stops far from its solution where C is large, with
    other answers to one photo in seven, and fewer right ones.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    mean = train.mean(axis=0)
    scale = np.float32(0.5) / np.sqrt(np.mean((train - mean) ** 2))
    # The best weights lie in the photos' span, whatever C is: where photos are few, it has far fewer dimensions.
    span = np.linalg.qr((train - mean).T)[0] if len(train) < train.shape[1] else None

    def seen(features: Floats) -> Floats:
        centred = (features - mean) * scale
        return centred if span is None else centred @ span

    best: tuple[tuple[float, float], Any] | None = None
    model = LogisticRegression(max_iter=1000, warm_start=True)
    for c in np.logspace(-4, 4, 9):
        model = copy.deepcopy(model).set_params(C=c).fit(seen(train), labels)
        probabilities = model.predict_proba(seen(validation)).astype(np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        accuracy = np.mean(model.classes_[probabilities.argmax(axis=1)] == validation_labels)
        judged = (-accuracy, log_loss(validation_labels, probabilities, labels=model.classes_))
        if best is None or judged < best[0]:
            best = judged, model
    assert best is not None
    chosen_model = best[1]
    return lambda features: chosen_model.predict(seen(features))


def row(cell: Cell, found: list[Answers]) -> tuple[str, bool]:
    """A line of the table, and whether the head is significantly worse there."""
    from tledge.statistics import difference_interval_points

    head, other = (np.concatenate([getattr(one, name) for one in found]) for name in ("head", "regression"))
    gain = difference_interval_points(int((head & ~other).sum()), int((other & ~head).sum()), len(head))
    frequent = np.concatenate([one.frequent for one in found])
    shares = [f"{100 * part.mean():.1f}" for part in (frequent, other, head)]
    gained = f"{100 * (head.mean() - other.mean()):+.1f} ({gain.low:+.1f} to {gain.high:+.1f})"
    on_fresh = fresh_gain(found)
    values = [
        cell.source,
        f"{cell.num_classes}",
        f"{cell.size:,}",
        f"1:{cell.balance}",
        f"{len(head):,}",
        *shares,
        gained,
    ]
    return f"| {' | '.join([*values, '' if on_fresh is None else f'{on_fresh:+.1f}'])} |", gain.high < 0


def fresh_gain(found: list[Answers]) -> float | None:
    """How many points more of the fresh photos the head is right on; None where there are none."""
    head = np.concatenate([one.fresh_head for one in found])
    return (
        100 * float(head.mean() - np.concatenate([one.fresh_regression for one in found]).mean()) if len(head) else None
    )


def _work(task: tuple[Cell, int, Path, Any]) -> Answers | None:
    return compared(*task)


def main() -> int:
    parser = argparse.ArgumentParser(description="The head against logistic regression, on small and unbalanced data.")
    parser.add_argument("--features", type=Path, required=True, help="folder in which the features are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--source", action="append", choices=sorted(SOURCES), help="may be repeated [all]")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="photos of the cells")
    parser.add_argument("--head", default="linear", help="as tledge build takes it")
    parser.add_argument("--label-smoothing", type=float, help="of the head [the recipe's]")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    from tledge.training.resolve import resolve

    console, _ = begun()
    recipe = resolve("head", {"head": options.head, "label_smoothing": options.label_smoothing})
    wanted = [cell for cell in cells() if cell.source in (options.source or SOURCES) and cell.size in options.sizes]
    for source in dict.fromkeys(cell.source for cell in wanted):
        features_of(source, options.features)
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    print(
        "| data | classes | photos | balance | tested | most frequent | regression | head | head less regression | on fresh |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    num_worse, gains = 0, []
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        answers = pool.map(_work, [(cell, seed, options.features, recipe) for cell in wanted for seed in options.seeds])
        for cell in wanted:
            found = [one for one in itertools.islice(answers, len(options.seeds)) if one is not None]
            if not found:
                console.print(f"left out, for its photos are too few: {cell}")
                continue
            line, is_worse = row(cell, found)
            print(line, flush=True)
            num_worse += is_worse
            gains.append(fresh_gain(found))
    fresh = [gain for gain in gains if gain is not None]
    print(
        f"\nWorse: {num_worse} of {len(gains)} cells. On fresh photos, where there are any, the head gains {np.mean(fresh):+.2f} "
        f"points in the mean, {np.median(fresh):+.2f} in the median; lowest {min(fresh):+.1f}, highest {max(fresh):+.1f}."
    )
    return int(num_worse > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))  # this checkout's tledge, wherever another is installed
    raise SystemExit(main())
