"""This module fits weights by least squares, from sums over photos, to bring a layer's output near to a wanted one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MOST_INPUTS = 4096  # an output with more inputs has only its bias fitted: equations grow with their square
HOLDS = (0.01, 0.1, 1.0, 10.0)  # how firmly weights may be held, as a factor of the inputs' mean variance
_MOST_STEPS, _EXACT_TO = 30, 1e-2  # conjugate gradients end here: their error is far below that of rounding
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


class Moments:
    """The moments are sums over all positions of some photos, in float64, for g groups of k inputs and o outputs.

    ``shift``, float32 (g, k) and (g, o), is subtracted from all values before they are multiplied, and added to the
    means. Without it, the variance of an input far from zero would be lost in the rounding of its square.
    """

    def __init__(self, groups: int, num_inputs: int, num_outputs: int) -> None:
        kept = num_inputs if num_inputs <= MOST_INPUTS else 0
        self.count = 0
        self.shift: tuple[Floats, Floats] | None = None
        self._sums = [
            np.zeros(shape)
            for shape in (
                (groups, num_inputs),
                (groups, num_outputs),
                (groups, kept, kept),
                (groups, kept, num_outputs),
            )
        ]

    def __add__(self, other: Moments) -> Moments:
        made = copy.copy(self)
        made.count = self.count + other.count
        made._sums = [mine + theirs for mine, theirs in zip(self._sums, other._sums, strict=True)]
        return made

    def add(self, inputs: Floats, outputs: Floats) -> None:
        """Add inputs, float32 (n, g, k), and outputs, float32 (n, g, o), to the sums."""
        assert self.shift is not None
        x, y = (np.moveaxis(values - shift, 1, 0) for values, shift in zip((inputs, outputs), self.shift, strict=True))
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        self.count += x.shape[1]
        of_inputs, of_outputs, squares, products = self._sums
        of_inputs += x.sum(axis=1, dtype=np.float64)
        of_outputs += y.sum(axis=1, dtype=np.float64)
        if squares.size:
            turned = np.swapaxes(x, 1, 2)
            squares += turned @ x
            products += turned @ y

    def means(self) -> tuple[Doubles, Doubles]:
        """Return the means of the inputs (g, k) and of the outputs (g, o)."""
        assert self.shift is not None
        return self._sums[0] / self.count + self.shift[0], self._sums[1] / self.count + self.shift[1]

    def covariance(self) -> Doubles:
        """Return the covariance of the inputs, (g, k, k)."""
        return self._about_the_means()[0]

    def _about_the_means(self) -> tuple[Doubles, Doubles]:
        """Return the covariance of the inputs (g, k, k), and of inputs with outputs (g, k, o)."""
        x, y = self._sums[0] / self.count, self._sums[1] / self.count
        variance = self._sums[2] / self.count - x[:, :, None] * x[:, None, :]
        return variance, self._sums[3] / self.count - x[:, :, None] * y[:, None, :]

    def fitted(self, trained: Doubles, hold: float, free: Booleans | None = None) -> Doubles:
        """Fit weights (g, k, o) with the least squared error of the outputs about their means, held near ``trained``.

        This is ridge regression towards ``trained``: w + (V + h)^-1 (C - V w). V is the inputs' covariance. C is the
        covariance of inputs with outputs. h is ``hold`` times the mean of V's diagonal. Only the weights that are
        ``free`` (g, k, o) change.
        """
        import scipy.linalg

        variance, joint = self._about_the_means()
        power = np.trace(variance, axis1=1, axis2=2) / trained.shape[1]
        held = hold * np.maximum(power, 0) + 1e-9  # above zero, because an input may never change
        firm = variance + held[:, None, None] * np.eye(trained.shape[1])
        missing = joint - variance @ trained
        if free is not None:
            step = _solved(firm, missing, free)
        elif len(firm) > 1:
            step = np.linalg.solve(firm, missing)
        else:  # the matrix is positive definite, so this takes a fraction of the time
            step = scipy.linalg.cho_solve(scipy.linalg.cho_factor(firm[0]), missing[0])
        return np.asarray(trained + step)

    def error(self, weights: Doubles) -> float:
        """Return the squared error of the outputs about their means, for weights (g, k, o).

        The part that does not depend on the weights is left out. The error is a sum over all outputs of the mean over
        positions.
        """
        variance, joint = self._about_the_means()
        return float(np.sum(weights * (variance @ weights - 2 * joint)))


def best(halves: Sequence[Moments], trained: Doubles, free: Booleans | None = None) -> Doubles:
    """Fit the weights to all photos with the regularization that does best in a two-fold cross-validation.

    The two folds are ``halves``. Returns the ``trained`` weights where no fit does better on the fold left out, as with
    few photos. ``free`` says which weights may change; None allows all.
    """
    both = halves[0] + halves[1]
    if not all(half.count for half in halves):
        return trained
    pairs = [(halves[0], halves[1]), (halves[1], halves[0])]
    errors = [sum(other.error(one.fitted(trained, hold, free)) for one, other in pairs) for hold in HOLDS]
    least = int(np.argmin(errors))
    if errors[least] >= sum(other.error(trained) for _, other in pairs):
        return trained
    return both.fitted(trained, HOLDS[least], free)


def _solved(matrices: Doubles, right: Doubles, free: Booleans) -> Doubles:
    """Solve A x = b for x (g, k, o), where x is zero outside ``free``.

    ``matrices`` A (g, k, k) are positive definite; ``right`` is b. Only the rows that are ``free`` count. So every
    output has equations of its own. They are solved together by conjugate gradients, because factoring each would
    take too long.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    diagonal = np.diagonal(matrices, axis1=1, axis2=2)[:, :, None]
    shape = right.shape
    product = LinearOperator(
        (right.size, right.size),
        lambda x: np.where(free, matrices @ (x.reshape(shape) * free), x.reshape(shape)).ravel(),
    )
    scaled = LinearOperator(product.shape, lambda x: (x.reshape(shape) / diagonal).ravel())
    found, _ = cg(product, np.where(free, right, 0).ravel(), rtol=_EXACT_TO, maxiter=_MOST_STEPS, M=scaled)
    return np.asarray(found.reshape(shape))
