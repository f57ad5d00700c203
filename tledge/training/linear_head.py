"""A head without hidden layers is solved: for one strength of regularisation after another, by L-BFGS.

Its loss is convex, so there is one best head for each strength, and neither a learning rate nor the order of the photos has a
part in it. Which strength is best is told by photos that the head was not trained on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Blocks = Iterable[tuple[Doubles, Labels]]  # of features (n, feature_dim) and labels (n,); can be gone through again

STRENGTHS = tuple(float(strength) for strength in np.logspace(0, -6, 13))
"""From a head that hardly differs from the classes' shares to one that is hardly held back. A strength is that of the squared
weights against the mean loss, where the features of a photo have a mean squared length of 1."""
PATIENCE = 3
"""Strengths without a lower loss after which weaker ones are not tried: the loss falls, and then rises."""
NUM_FOLDS = 5
ENOUGH = 500
"""Photos that choose a strength, if there are so many. With fewer their luck chooses, and much is lost by it: see
docs/training.md."""
_TOLERANCE = 1e-7  # of the loss: an iteration that lowers it by less is the last
_SLOPE = 1e-5  # the largest of the gradient at the end
_PAIRS = 10  # steps that L-BFGS remembers: each is two times the weights, in float64
WEIGHT_COPIES = 2 * (2 * _PAIRS + 10)
"""float32 numbers a weight that it holds at a time: the steps, and the vectors of SciPy's own."""


class Score(NamedTuple):
    """Sums over photos: of the loss, of right answers, and how many photos there were."""

    loss: float
    num_right: int
    num_photos: int

    @property
    def mean_loss(self) -> float:
        """Of a photo."""
        return self.loss / self.num_photos

    @property
    def accuracy(self) -> float:
        """As a fraction."""
        return self.num_right / self.num_photos


class Solver:
    """The best linear head of some photos for one strength after another, each found from the one before.

    The loss is the mean smoothed cross-entropy, each photo weighed by its class; the bias is free.
    """

    def __init__(self, photos: Blocks, of_class: npt.NDArray[np.float32], smoothing: float) -> None:
        self._photos, self._of_class, self._smoothing = photos, of_class.astype(np.float64), smoothing
        shares, squares, self._num_photos = np.zeros(len(of_class)), 0.0, 0
        for inputs, labels in photos:
            shares += self._targets(labels).sum(axis=0)
            squares += float((inputs**2).sum())
            self._num_photos += len(labels)
        self._mean_square = squares / self._num_photos
        self.weights = np.concatenate([np.zeros((inputs.shape[1], len(of_class))), log_shares(shares)[None]])
        """Kernel, and the bias as the last row: float64 (feature_dim + 1, num_classes)."""

    def solve(self, strength: float) -> None:
        """Make ``weights`` those of the lowest loss."""
        from scipy.optimize import minimize

        penalty = strength * self._mean_square
        options = {"maxcor": _PAIRS, "ftol": _TOLERANCE, "gtol": _SLOPE}
        found = minimize(self._objective, self.weights.ravel(), (penalty,), "L-BFGS-B", True, options=options)
        self.weights = found.x.reshape(self.weights.shape)

    def score(self, photos: Blocks) -> Score:
        """How well the weights do on ``photos``."""
        loss, num_right, num_photos = 0.0, 0, 0
        for inputs, labels in photos:
            log_probabilities = _log_probabilities(inputs, self.weights)
            loss -= float((self._targets(labels) * log_probabilities).sum())
            num_right += int((log_probabilities.argmax(axis=1) == labels).sum())
            num_photos += len(labels)
        return Score(loss, num_right, num_photos)

    def _objective(self, flat: Doubles, penalty: float) -> tuple[float, Doubles]:
        weights = flat.reshape(self.weights.shape)
        loss, gradient = 0.0, np.zeros_like(weights)
        for inputs, labels in self._photos:
            targets, log_probabilities = self._targets(labels), _log_probabilities(inputs, weights)
            loss -= float((targets * log_probabilities).sum())
            errors = np.exp(log_probabilities) * self._of_class[labels, None] - targets
            gradient[:-1] += inputs.T @ errors
            gradient[-1] += errors.sum(axis=0)
        gradient /= self._num_photos
        gradient[:-1] += penalty * weights[:-1]
        return loss / self._num_photos + penalty / 2 * float((weights[:-1] ** 2).sum()), gradient.ravel()

    def _targets(self, labels: Labels) -> Doubles:
        """Smoothed one-hot labels, float64 (n, C), each times the weight of its class."""
        num_classes = len(self._of_class)
        smoothed = np.eye(num_classes)[labels] * (1 - self._smoothing) + self._smoothing / num_classes
        return np.asarray(smoothed * self._of_class[labels, None])


class LinearHead:
    """A linear head on its way through the strengths: an epoch of its training is one of them.

    ``read``: of rows, their blocks; ``labels``: of all rows; ``train``: int64 (views, N), a column the rows of one photo;
    ``validation``: rows; ``of_class``: the weight of each class in the loss.
    """

    max_epochs, patience = len(STRENGTHS), PATIENCE

    def __init__(
        self,
        read: Callable[[Labels], Blocks],
        labels: Labels,
        train: Labels,
        validation: Labels,
        of_class: npt.NDArray[np.float32],
        smoothing: float,
    ) -> None:
        self._basis = _basis(read(train.ravel()))
        fold = folds(labels[train[0]])

        def solver(photos: Labels) -> Solver:
            return Solver(self._seen(read(photos.ravel())), of_class, smoothing)

        self._solver = solver(train)
        self._train, self._validation = self._seen(read(train.ravel())), self._seen(read(validation))
        self._folds = [
            (solver(train[:, fold != number]), self._seen(read(train[0, fold == number])))
            for number in held_out(fold, len(validation))
        ]

    def train(self, epoch: int) -> tuple[float, float]:
        """Solve for the strength of this epoch, the first is 1; mean loss and accuracy on the training photos."""
        strength = STRENGTHS[epoch - 1]
        for solver in (self._solver, *(solver for solver, _ in self._folds)):
            solver.solve(strength)
        found = self._solver.score(self._train)
        return found.mean_loss, found.accuracy

    def validate(self) -> tuple[float, float, float]:
        """Mean loss and accuracy on the validation photos, and the mean loss that is to choose the strength.

        Where the validation photos are few, that is of training photos too, each by a head that did not see it.
        """
        found = self._solver.score(self._validation)
        judged = [found, *(solver.score(held_out) for solver, held_out in self._folds)]
        chooses = sum(score.loss for score in judged) / sum(score.num_photos for score in judged)
        return found.mean_loss, found.accuracy, chooses

    def layers(self) -> tuple[Layer, ...]:
        """Kernel and bias, of features as :class:`Solver` sees them."""
        kernel, bias = self._solver.weights[:-1], self._solver.weights[-1]
        kernel = kernel if self._basis is None else self._basis @ kernel
        return ((kernel.astype(np.float32), bias.astype(np.float32)),)

    def _seen(self, photos: Blocks) -> Blocks:
        """Blocks as the solvers see them."""
        return photos if self._basis is None else [(inputs @ self._basis, labels) for inputs, labels in photos]


def one_thread() -> contextlib.AbstractContextManager[object]:
    """One thread of linear algebra: for photos that are few, handing out the work takes longer than the work."""
    import scipy.optimize  # noqa: F401 - threadpool_limits reaches libraries that are loaded already
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def folds(labels: Labels) -> Labels:
    """The fold of each photo, int64 (N,) from 0 to 4: equal parts of every class; -1 for the only photo of a class.

    A head that was never shown a class says nothing about its photo.
    """
    fold = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        photos = np.flatnonzero(labels == label)
        fold[photos] = (np.arange(len(photos)) + label) % NUM_FOLDS if len(photos) > 1 else -1
    return fold


def held_out(fold: Labels, num_validation: int) -> list[int]:
    """The folds that are held out so that enough photos choose: none where the validation photos are enough."""
    numbers, num_judges = [], num_validation
    for number in range(NUM_FOLDS):
        num_photos = int((fold == number).sum())
        if num_photos and num_judges < ENOUGH:
            numbers.append(number)
            num_judges += num_photos
    return numbers


def _basis(photos: Blocks) -> Doubles | None:
    """An orthonormal basis (feature_dim, n) of features of n photos, where they are fewer than the features; else None.

    The best weights for any strength lie in their span (the representer theorem), and n numbers are faster than more.
    """
    if not isinstance(photos, list) or len(photos) != 1 or len(photos[0][0]) >= photos[0][0].shape[1]:
        return None
    return np.asarray(np.linalg.qr(photos[0][0].T)[0])


def _log_probabilities(inputs: Doubles, weights: Doubles) -> Doubles:
    logits = inputs @ weights[:-1] + weights[-1]
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def log_shares(counts: npt.NDArray[np.floating]) -> Doubles:
    """The bias of a head that knows nothing but how often each class occurs: the logarithm of its share.

    ``counts`` (C,) of photos, weighed and smoothed as the loss does; a class without photos counts as half a photo.
    """
    seen = np.maximum(counts, 0.5)
    return np.asarray(np.log(seen / seen.sum()), np.float64)
