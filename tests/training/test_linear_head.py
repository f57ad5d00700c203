"""A head without hidden layers: solved, and not held up by how few photos there are or how unequal the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.cache import CachedRows, RowCache
from tledge.progress import Silent
from tledge.statistics import difference_interval_points
from tledge.training import linear_head
from tledge.training.fit import Head, fit_head
from tledge.training.linear_head import ENOUGH, NUM_FOLDS, LinearHead, Solver, folds, held_out_folds
from tledge.training.recipe import Recipe

DIM = 1280  # a MobileNetV2's
FREQUENT, RARE = 134, 8  # training photos: what 200 daisies and 12 roses come to
Split = tuple[Any, Any]


def _photos(rng: np.random.Generator, *counts: int) -> Split:
    """Features like a backbone's, float32 (N, 1280), of so many photos a class; classes differ in a few directions."""
    layer = np.random.default_rng(0).normal(0, 0.2, (20, DIM))
    labels = np.repeat(np.arange(len(counts)), counts)
    hidden = rng.normal(0, 1, (len(labels), 20)) + 2.5 * np.eye(20)[labels]
    return np.maximum(hidden @ layer + rng.normal(0, 0.5, (len(labels), DIM)), 0).astype(np.float32), labels


def _rows(*parts: Split) -> tuple[CachedRows, Any]:
    values = np.concatenate([features for features, _ in parts])
    keys = [number.to_bytes(32, "big") for number in range(len(values))]
    cache = RowCache(f"features-{hash(values.tobytes())}", values.shape[1:], np.float32)
    cache.add(zip(keys, values, strict=True), len(values))
    return cache.rows(keys), np.concatenate([labels for _, labels in parts])


def _fit(train: Split, validation: Split, recipe: Recipe, seed: int = 0) -> Head:
    rows, labels = _rows(train, validation)
    one, other = np.split(np.arange(len(labels)), [len(train[1])])
    return fit_head(rows, labels, one, other, int(labels.max()) + 1, recipe, seed, Silent())


def _is_right(head: Head, test: Split) -> Any:
    return head.logits(test[0]).argmax(axis=1) == test[1]


@pytest.mark.long
@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("head", ["linear", "mlp:64"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_photos_of_unequal_classes_are_learnt_better_than_the_most_frequent_class(head: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, validation, test = _photos(rng, FREQUENT, RARE), _photos(rng, 29, 2), _photos(rng, 1000, 60)
    accuracy = _is_right(_fit(train, validation, Recipe(head=head), seed), test).mean()
    assert accuracy > 1000 / 1060


@pytest.mark.long
@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("counts", [(12, 3), (134, 8), (20, 10, 5, 2)], ids=str)
def test_no_data_is_learnt_worse_than_by_logistic_regression(counts: tuple[int, ...]) -> None:
    from sklearn.linear_model import LogisticRegression

    ours, theirs = [], []
    for draw in range(3):
        rng = np.random.default_rng([len(counts), draw])
        train, test = _photos(rng, *counts), _photos(rng, *(8 * count for count in counts))
        validation = _photos(rng, *(max(1, count // 5) for count in counts))
        models = [LogisticRegression(C=c, max_iter=300).fit(*train) for c in np.logspace(-4, 2, 7)]
        best = max(models, key=lambda model: model.score(*validation))
        ours.append(_is_right(_fit(train, validation, Recipe()), test))
        theirs.append(best.predict(test[0]) == test[1])
    one, other = np.concatenate(ours), np.concatenate(theirs)
    worse = difference_interval_points(int((other & ~one).sum()), int((one & ~other).sum()), len(one))
    assert worse.low <= 0, f"{one.mean():.2%} against {other.mean():.2%}"


def test_a_solution_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    inputs, labels = _photos(rng, 40, 30, 20)
    inputs = np.asarray(inputs - inputs.mean(axis=0), np.float64)
    solver = Solver([inputs], labels, np.ones((90, 1), np.bool_), np.ones(3, np.float32), smoothing=0.0)
    solver.solve(strength := 1e-2)
    penalty = strength * (inputs**2).sum() / len(inputs)
    other = LogisticRegression(C=1 / (penalty * len(inputs)), tol=1e-10, max_iter=5000).fit(inputs, labels)
    # Of all kernels that give the same answers the penalty leaves one; biases may still differ by a common number.
    assert pytest.approx(other.coef_, abs=1e-4) == solver.kernels[:, 0].T
    bias = solver.biases[0] - solver.biases[0].mean()
    assert bias == pytest.approx(other.intercept_ - other.intercept_.mean(), abs=1e-3)


def test_a_class_that_counts_more_is_found_more_often_and_smoothed_labels_make_answers_less_certain() -> None:
    rng = np.random.default_rng(1)
    inputs, labels = _photos(rng, 100, 10)

    def probabilities(weights: tuple[float, float], smoothing: float) -> Any:
        solver = Solver([inputs], labels, np.ones((110, 1), np.bool_), np.array(weights, np.float32), smoothing)
        solver.solve(0.1)
        logits = inputs @ solver.kernels[:, 0] + solver.biases[0]
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    plain, weighed, smoothed = (probabilities(*how) for how in (((1, 1), 0.0), ((0.55, 5.5), 0.0), ((1, 1), 0.3)))
    assert weighed[:, 1].mean() > plain[:, 1].mean() + 0.1
    assert smoothed.max(axis=1).mean() < plain.max(axis=1).mean() - 0.05


@pytest.mark.usefixtures("empty_cache")
def test_a_single_validation_photo_does_not_choose_the_strength_alone() -> None:
    rng = np.random.default_rng(3)
    train, test = _photos(rng, 30, 30, 30), _photos(rng, 300, 300, 300)
    features, labels = _photos(rng, 1, 0, 0)
    heads = [_fit(train, (features, labels + wrong), Recipe()) for wrong in (0, 1)]
    assert min(_is_right(head, test).mean() for head in heads) > 0.9
    right, wrong = (head.logits(test[0]) for head in heads)  # another strength would give other logits
    np.testing.assert_allclose(wrong, right, rtol=0, atol=1e-4)


def test_folds_have_equal_parts_of_every_class_and_the_only_photo_of_a_class_is_never_held_out() -> None:
    labels = np.repeat([0, 1, 2, 3], [10, 5, 2, 1])
    fold = folds(labels)
    assert np.bincount(fold[labels == 0]).tolist() == [2] * NUM_FOLDS
    assert sorted(fold[labels == 1]) == list(range(NUM_FOLDS))
    assert len(set(fold[labels == 2])) == 2
    assert fold[labels == 3].tolist() == [-1]


@pytest.mark.parametrize(
    ("num_train", "num_validation", "wanted"),
    [(70, 15, 5), (1400, 300, 1), (1000, 100, 2), (2500, ENOUGH, 0), (2500, ENOUGH - 1, 1), (3, 1, 3)],
)
def test_so_many_folds_are_held_out_that_enough_photos_choose(num_train: int, num_validation: int, wanted: int) -> None:
    numbers = held_out_folds(folds(np.zeros(num_train, np.int64)), num_validation)
    assert numbers == list(range(wanted))


@pytest.mark.parametrize("most_axes", [0, DIM])
def test_heads_along_the_axes_of_the_photos_of_the_features_and_along_none_are_the_same(
    monkeypatch: pytest.MonkeyPatch, most_axes: int
) -> None:
    rng = np.random.default_rng(5)
    inputs, labels = _photos(rng, 20, 10)
    inputs = np.asarray(inputs - inputs.mean(axis=0), np.float64)

    def kernels() -> Any:
        solver = Solver([inputs], labels, np.ones((30, 1), np.bool_), np.ones(2, np.float32), 0.1)
        solver.solve(1e-2)
        return solver.kernels

    in_span = kernels()
    monkeypatch.setattr(linear_head, "MOST_AXES", most_axes)
    monkeypatch.setattr(linear_head, "_is_few", lambda num_photos, feature_dim: False)
    assert kernels() == pytest.approx(in_span, abs=1e-4)


def test_heads_that_hold_photos_out_are_those_that_never_saw_them() -> None:
    rng = np.random.default_rng(8)
    inputs, labels = _photos(rng, 20, 10, 10)
    is_held = np.arange(40) % 4 == 0
    of_class, counted = np.ones(3, np.float32), np.stack([np.full(40, True), ~is_held], axis=1)
    together = Solver([inputs], labels, counted, of_class, 0.0)
    alone = Solver([inputs[~is_held]], labels[~is_held], np.ones((30, 1), np.bool_), of_class, 0.0)
    # A strength is measured by the mean square of all photos.
    factor = np.square(inputs).sum(axis=1).mean() / np.square(inputs[~is_held]).sum(axis=1).mean()
    together.solve(1e-2)
    alone.solve(1e-2 * factor)
    assert together.kernels[:, 1] == pytest.approx(alone.kernels[:, 0], abs=1e-4)
    judged, other = (solver.judge([inputs[is_held]], labels[is_held]) for solver in (together, alone))
    assert judged.losses[:, 1] == pytest.approx(other.losses[:, 0], abs=1e-2)


@pytest.mark.usefixtures("empty_cache")
def test_features_that_are_read_in_blocks_give_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    from tledge.training import fit

    rng = np.random.default_rng(6)
    train, validation, test = _photos(rng, 40, 20), _photos(rng, 12, 6), _photos(rng, 50, 50)
    recipe = Recipe(max_epochs=5)
    at_once = _fit(train, validation, recipe)
    monkeypatch.setattr(fit, "_LINEAR_BLOCK_BYTES", 4 * DIM * 25)  # 25 photos
    in_blocks = _fit(train, validation, recipe)
    assert in_blocks.best_epoch == at_once.best_epoch
    assert in_blocks.logits(test[0]) == pytest.approx(at_once.logits(test[0]), abs=0.02)


def test_views_of_a_photo_are_never_parted_by_a_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Noted(Solver):
        def __init__(self, photos: Any, labels: Any, counted: Any, *others: Any) -> None:
            seen.append(counted.reshape(3, 10, -1))
            super().__init__(photos, labels, counted, *others)

    monkeypatch.setattr(linear_head, "Solver", Noted)
    labels, values = np.tile(np.repeat([0, 1], [6, 4]), 3), np.random.default_rng(0).normal(size=(30, 4))
    LinearHead(
        lambda rows: [values[rows]], labels, np.arange(30).reshape(3, 10), np.array([0, 6]), np.ones(2, np.float32), 0.1
    )
    (counted,) = seen
    assert counted.shape == (3, 10, 1 + NUM_FOLDS)
    assert (counted == counted[0]).all()
    assert counted[0, :, 0].all()
    assert ((~counted[0]).sum(axis=1) == 1).all()
