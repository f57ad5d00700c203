"""A head without hidden layers is solved by L-BFGS, for one strength of regularisation after another.

Its loss is convex, so there is one best head for each strength. Neither a learning rate nor the order of the photos
matters. Photos that the head was not trained on tell which strength is best.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Blocks = Iterable[Floats]  # features (n, feature_dim) each; it can be iterated more than once

STRENGTHS = tuple(float(strength) for strength in np.logspace(0, -6, 13))
"""These strengths reach from a head that hardly differs from the classes' shares to one that is hardly held back.

A strength of regularisation weighs the squared weights against the mean loss, where the features of a photo have a mean
squared length of 1."""
PATIENCE = 3
"""After this many strengths that were no better, weaker ones are not tried: errors grow fewer, and then more."""
NUM_FOLDS = 5
ENOUGH = 500
"""This many photos choose a strength, if there are so many. With fewer, chance chooses, and much accuracy is lost: see
docs/training.md."""
_TOLERANCE = 1e-6  # relative: an iteration that lowers the loss by less is the last
_SLOPE = 1e-5  # the search ends where the largest component of the gradient is below this
_PAIRS = 10  # steps that L-BFGS remembers: each takes two float64 vectors as long as the weights
WEIGHT_COPIES = 2 * (2 * _PAIRS + 10) * (1 + NUM_FOLDS)
"""This many float32 numbers per weight are held at a time: the steps and SciPy's own vectors, for each head."""
_NOTHING = 1e-12  # share of the largest mean square, below which a direction is left out: no strength lets it matter
_LEAST_CURVATURE = 1e-4  # lower limit of the loss's curvature, for photos that are all answered rightly and surely
MOST_AXES = 2048
"""Principal axes are computed of at most this many features or photos: the time grows with their third power."""


class Judged(NamedTuple):
    """These are the results of each head on each photo, both (N, num_heads): float64 loss, and whether it is right."""

    losses: Doubles
    is_right: npt.NDArray[np.bool_]


class Solver:
    """A solver finds the best linear heads of some photos for one strength after another.

    Each search starts from the heads of the strength before. ``labels`` belong to the photos. ``counted`` (N,
    num_heads) says which photos count in the loss of which head, so that heads which leave photos out are found
    together with the head of all photos. The loss is the mean smoothed cross-entropy, and each photo is weighted by its
    class. The bias is not regularised.

    The search goes along the principal axes of the features. Each axis is scaled by its own curvature of the loss and
    the penalty. All directions are then about equally steep, and few steps reach the lowest loss. Where photos are much
    fewer than features, the axes are those of the photos' span, which holds the best weights of any strength (the
    representer theorem).
    """

    def __init__(
        self,
        photos: Blocks,
        labels: Labels,
        counted: npt.NDArray[np.bool_],
        of_class: npt.NDArray[np.float32],
        smoothing: float,
    ) -> None:
        self._labels, self._smoothing = labels, smoothing
        self._of_class = of_class.astype(np.float64)
        self._weights = counted * self._of_class[labels, None] / counted.sum(axis=0)
        self._axes, self._squares = principal_axes(photos)
        # Photos in memory are turned along the axes once. Where photos are read anew each time, the kernels are turned.
        self._photos, self._is_turned = photos, False
        if isinstance(photos, list) and self._axes is not None:
            self._photos, self._is_turned = [inputs @ self._axes for inputs in photos], True
        num_classes, num_heads = len(of_class), counted.shape[1]
        smoothed = (1 - smoothing) * np.eye(num_classes) + smoothing / num_classes
        self._along = np.zeros((len(self._squares), num_heads, num_classes))  # the kernels, along the axes
        counts = [np.bincount(labels[rows], self._of_class[labels[rows]], num_classes) for rows in counted.T]
        self.biases = np.stack([log_shares(count @ smoothed) for count in counts])
        """The biases are float64 (num_heads, num_classes)."""
        shares = np.exp(self.biases[0])
        self._curvature = float(np.mean(shares * (1 - shares)))  # curvature of the loss in the logits

    @property
    def kernels(self) -> Floats:
        """Return the kernels (feature_dim, num_heads, num_classes), in the dtype of the features."""
        return self._along if self._axes is None else _product(self._axes, self._along)

    def solve(self, strength: float) -> Judged:
        """Find the heads of the lowest loss for this strength, and judge the photos by them."""
        from scipy.optimize import minimize

        penalty = strength * float(self._squares.sum())
        unit, bias_unit = 1 / np.sqrt(self._curvature * self._squares + penalty), self._curvature**-0.5
        shape, size = self._along.shape, self._along.size

        def parts(flat: Doubles) -> tuple[Doubles, Doubles]:
            return flat[:size].reshape(shape) * unit[:, None, None], flat[size:].reshape(self.biases.shape) * bias_unit

        def objective(flat: Doubles) -> tuple[float, Doubles]:
            along, biases = parts(flat)
            loss, slope, bias_slope = self._loss(self._for_photos(along), biases)
            slope_along = (self._along_axes(slope) + penalty * along) * unit[:, None, None]
            gradient = np.concatenate([slope_along.ravel(), bias_slope.ravel() * bias_unit])
            return loss + penalty / 2 * float((along**2).sum()), gradient

        begin = np.concatenate([(self._along / unit[:, None, None]).ravel(), self.biases.ravel() / bias_unit])
        options = {"maxcor": _PAIRS, "ftol": _TOLERANCE, "gtol": _SLOPE}
        self._along, self.biases = parts(minimize(objective, begin, (), "L-BFGS-B", True, options=options).x)
        judged = self._judged(self._photos, self._labels, self._for_photos(self._along))
        sure = np.exp(-judged.losses[:, 0])
        self._curvature = max(_LEAST_CURVATURE, 2 * float(np.mean(sure * (1 - sure))) / len(self._of_class))
        return judged

    def judge(self, photos: Blocks, labels: Labels) -> Judged:
        """Judge how well the heads do on ``photos``; features that are not finite give losses that are not finite."""
        with np.errstate(invalid="ignore", over="ignore"):  # the caller turns losses that are not finite into an error
            return self._judged(photos, labels, self.kernels)

    def _judged(self, photos: Blocks, labels: Labels, kernels: Floats) -> Judged:
        losses, is_right, num_classes = [], [], len(self._of_class)
        for inputs, rows in _numbered(photos):
            logits, truth = _logits(inputs, kernels, self.biases), labels[rows]
            log_sum = np.log(np.exp(logits).sum(axis=2))
            right = np.take_along_axis(logits, truth[:, None, None], axis=2)[:, :, 0]
            loss = log_sum - (1 - self._smoothing) * right - self._smoothing / num_classes * logits.sum(axis=2)
            losses.append(self._of_class[truth, None] * loss)
            is_right.append(logits.argmax(axis=2) == truth[:, None])
        return Judged(np.concatenate(losses), np.concatenate(is_right))

    def _loss(self, kernels: Floats, biases: Doubles) -> tuple[float, Doubles, Doubles]:
        """Compute the sum over the heads of the mean losses, without the penalty, and its gradients."""
        loss, slope, bias_slope = 0.0, np.zeros(kernels.shape), np.zeros_like(biases)
        each = self._smoothing / biases.shape[1]
        for inputs, rows in _numbered(self._photos):
            errors, truth, weights = _logits(inputs, kernels, biases), self._labels[rows], self._weights[rows]
            places = truth[:, None, None]
            right = np.take_along_axis(errors, places, axis=2)[:, :, 0]
            expected = (1 - self._smoothing) * right + each * errors.sum(axis=2)
            np.exp(errors, out=errors)
            sums = errors.sum(axis=2)
            loss += float((weights * (np.log(sums) - expected)).sum())
            # Probabilities minus smoothed labels, each times the photo's weight; in place, as these arrays are the largest.
            errors *= (weights / sums)[:, :, None]
            errors -= (weights * each)[:, :, None]
            right = np.take_along_axis(errors, places, axis=2) - (weights * (1 - self._smoothing))[:, :, None]
            np.put_along_axis(errors, places, right, axis=2)
            slope += (inputs.T @ errors.reshape(len(errors), -1)).reshape(slope.shape)
            bias_slope += errors.sum(axis=0)
        return loss, slope, bias_slope

    def _for_photos(self, along: Doubles) -> Floats:
        """Turn kernels along the axes into kernels for the photos as they are kept."""
        return along if self._is_turned or self._axes is None else _product(self._axes, along)

    def _along_axes(self, slope: Doubles) -> Floats:
        """Turn the slope for the photos as they are kept into the slope along the axes."""
        return slope if self._is_turned or self._axes is None else _product(self._axes.T, slope)


class LinearHead:
    """A linear head is trained here, and each epoch tries one strength of regularisation.

    ``read`` returns the blocks of features of some rows. ``labels`` are those of all rows. ``train`` is int64 (views,
    N), and a column has the rows of one photo. ``validation`` has the rows of the validation photos. ``of_class`` is
    the weight of each class in the loss.
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
        fold = folds(labels[train[0]])
        self._held_out = fold[:, None] == np.array(held_out_folds(fold, len(validation)), np.int64)  # (N, folds)
        counted = np.concatenate([np.ones((len(fold), 1), np.bool_), ~self._held_out], axis=1)
        rows = train.ravel()
        self._solver = Solver(read(rows), labels[rows], np.tile(counted, (len(train), 1)), of_class, smoothing)
        self._validation, self._truth = read(validation), labels[validation]
        # These are the results on the photos that are held out, each judged by one head.
        self._aside = Judged(np.zeros(0), np.zeros(0, np.bool_))

    def train(self, epoch: int) -> tuple[float, float]:
        """Solve for the strength of this epoch, and return mean loss and accuracy on the training photos.

        The first epoch is 1.
        """
        found = self._solver.solve(STRENGTHS[epoch - 1])
        # Only the photo itself, the first of its views, is judged as held out.
        first = len(self._held_out)
        self._aside = Judged(found.losses[:first, 1:][self._held_out], found.is_right[:first, 1:][self._held_out])
        return float(found.losses[:, 0].mean()), float(found.is_right[:, 0].mean())

    def validate(self) -> tuple[float, float, tuple[float, ...]]:
        """Return mean loss and accuracy on the validation photos, and the two values that choose the strength of regularization.

        The strength with the lowest share of errors is chosen, and of equal ones the one with the lowest mean loss.
        Where the validation photos are few, training photos count too, each judged by a head that did not see it.
        """
        found = self._solver.judge(self._validation, self._truth)
        losses, is_right = found.losses[:, 0], found.is_right[:, 0]
        judged = np.concatenate([losses, self._aside.losses]), np.concatenate([is_right, self._aside.is_right])
        return float(losses.mean()), float(is_right.mean()), (1 - float(judged[1].mean()), float(judged[0].mean()))

    def layers(self) -> tuple[Layer, ...]:
        """Return kernel and bias, for features as :class:`Solver` sees them."""
        return ((self._solver.kernels[:, 0].astype(np.float32), self._solver.biases[0].astype(np.float32)),)


def one_thread() -> contextlib.AbstractContextManager[object]:
    """Limit linear algebra to one thread: for few photos, sharing out the work takes longer than the work."""
    import scipy.optimize  # noqa: F401 - threadpool_limits reaches libraries that are loaded already
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def folds(labels: Labels) -> Labels:
    """Assign each photo to a fold, int64 (N,) from 0 to 4, in equal parts of every class.

    The only photo of a class gets -1: a head that was never shown a class says nothing about its photo.
    """
    fold = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        photos = np.flatnonzero(labels == label)
        fold[photos] = (np.arange(len(photos)) + label) % NUM_FOLDS if len(photos) > 1 else -1
    return fold


def held_out_folds(fold: Labels, num_validation: int) -> list[int]:
    """List the folds that are held out so that enough photos choose; none where the validation photos are enough."""
    numbers, num_judges = [], num_validation
    for number in range(NUM_FOLDS):
        num_photos = int((fold == number).sum())
        if num_photos and num_judges < ENOUGH:
            numbers.append(number)
            num_judges += num_photos
    return numbers


def principal_axes(photos: Blocks) -> tuple[Floats | None, Doubles]:
    """Compute orthonormal directions (feature_dim, num_axes) of the features, and the mean square along each.

    Where the features are more than :data:`MOST_AXES`, the directions are None: the features themselves serve.
    """
    first = next(iter(photos))
    feature_dim, num_photos = first.shape[1], sum(len(inputs) for inputs in photos)
    if len(first) == num_photos and _is_few(num_photos, feature_dim):
        few = first.astype(np.float64)
        squares, vectors = np.linalg.eigh(few @ few.T)
        is_felt = squares > _NOTHING * squares[-1]
        directions = few.T @ (vectors[:, is_felt] / np.sqrt(squares[is_felt]))
        return directions.astype(first.dtype), squares[is_felt] / num_photos
    if feature_dim > MOST_AXES:
        each = [np.square(inputs).sum(axis=0, dtype=np.float64) for inputs in photos]
        return None, np.sum(each, axis=0) / num_photos
    products = np.zeros((feature_dim, feature_dim), first.dtype)
    for inputs in photos:
        products += inputs.T @ inputs
    sums, axes = np.linalg.eigh(products)
    return axes, np.maximum(sums.astype(np.float64), 0) / num_photos


def _is_few(num_photos: int, feature_dim: int) -> bool:
    """Tell whether the axes of the photos' span are found faster than those of the features."""
    return 2 * num_photos < min(feature_dim, MOST_AXES)


def _numbered(photos: Blocks) -> Iterator[tuple[Floats, slice]]:
    """Yield each block, and the slice of the photos that are in it."""
    start = 0
    for inputs in photos:
        yield inputs, slice(start, start + len(inputs))
        start += len(inputs)


def _logits(inputs: Floats, kernels: Floats, biases: Doubles) -> Floats:
    """Compute logits (n, num_heads, num_classes), less the largest of each head, in the dtype of ``inputs``."""
    logits = _product(inputs, kernels)
    logits += biases.astype(inputs.dtype)
    logits -= logits.max(axis=2, keepdims=True)
    return logits


def _product(matrix: Floats, values: Floats) -> Floats:
    """Multiply ``matrix`` (m, n) by ``values`` (n, ...), in the dtype of ``matrix``."""
    flat = values.reshape(len(values), -1).astype(matrix.dtype)
    return np.asarray(matrix @ flat).reshape(-1, *values.shape[1:])


def log_shares(counts: npt.NDArray[np.floating]) -> Doubles:
    """Return the bias of a head that knows only how often each class occurs: the logarithm of its share.

    ``counts`` (C,) are numbers of photos, weighted and smoothed as in the loss. A class without photos counts as half a
    photo.
    """
    seen = np.maximum(counts, 0.5)
    return np.asarray(np.log(seen / seen.sum()), np.float64)
