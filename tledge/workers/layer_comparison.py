"""This program compares the layers of two artifacts: ``python -m tledge.workers.layer_comparison JOB PARENT_PID``.

It extends :class:`tledge.workers.worker.Worker` by one command. Both artifacts run in this process, photo by photo. Only sums
are kept from one photo to the next, so memory does not grow with the photos.

Every layer is judged twice. First it is compared with the float network on the same photo. That error includes the
errors of all layers before it, so the worst layer is often far behind the one that causes the error. So the float
network also runs in pieces: each of its layers computes on the values that the quantized network gave to that layer.
What differs then comes from the layer itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.runtimes import runtime
from tledge.runtimes.layer_graph import Layer, Matching, match
from tledge.workers.worker import Worker, serve

Values = npt.NDArray[np.float32]
_MAX_NAMES = 8  # One sentence names at most so many layers.
_ROUNDING = 1e-5  # Two probabilities may differ by this: the same float numbers were summed in another order.


@dataclass
class Sums:
    """These sums accumulate one layer's signal and error, from which its SQNR and its cosine follow.

    They run over all output values of the layer, on all photos. In the comments below, r is a value of the float model
    and q is the value of the quantized model in the same place.
    """

    signal: float = 0.0  # sum of r * r
    quantized: float = 0.0  # sum of q * q
    product: float = 0.0  # sum of r * q
    error: float = 0.0  # sum of (r - q) ** 2

    def add(self, real: Values, quantized: Values) -> None:
        """Add the float model's values and the quantized model's, two arrays of one shape, to the sums."""
        # The sums need 64 bits: in 32 bits the sum of a million squares would lose a small error.
        r, q = np.asarray(real, np.float64).ravel(), np.asarray(quantized, np.float64).ravel()
        difference = r - q
        self.signal += float(r @ r)
        self.quantized += float(q @ q)
        self.product += float(r @ q)
        self.error += float(difference @ difference)

    @property
    def is_finite(self) -> bool:
        """Tell whether all values that were added to the sums are finite."""
        return math.isfinite(self.signal + self.quantized + self.product + self.error)

    @property
    def sqnr_db(self) -> float | None:
        """Return 10 log10(signal power / error power), in decibels; None where the two models' values are equal.

        It is the signal-to-quantization-noise ratio of Lin, Talathi and Annapureddy, 2016 (arXiv:1511.06393), over the
        output of a layer. The signal must not be zero everywhere, unless the values are equal.
        """
        return None if self.error == 0 else 10 * math.log10(self.signal / self.error)

    @property
    def cosine(self) -> float:
        """Return the cosine of the angle between the two models' values, -1 to 1.

        It is 1 where they are equal, and 0 where only one of them is zero everywhere.
        """
        if self.error == 0:
            return 1.0
        length = math.sqrt(self.signal) * math.sqrt(self.quantized)
        return max(-1.0, min(1.0, self.product / length)) if length else 0.0


@dataclass(frozen=True)
class Compared:
    """A ``Compared`` holds the two comparisons of one quantized layer with the float network's layer.

    Args:
        in_network: Both networks get the same photo, so the errors of earlier layers are included.
        own: The float layer gets the quantized layer's inputs, so only the error of the layer itself remains.
    """

    in_network: Sums
    own: Sums


class LayerWorker(Worker):
    """A ``LayerWorker`` is a :class:`Worker` with one more command, ``compare``."""

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {**super().commands(), "compare": self.compare}

    def compare(self, against: str, num_photos: int) -> dict[str, Any]:
        """Measure the error of every layer of the job's artifact against ``against``, a file of the same runtime.

        ``num_photos`` photos are taken at equal distances from all photos of the job, as these may be in the order of
        their classes. The answer has ``layers`` (the fields of LayerError) and ``notes`` (sentences on what was not
        compared).
        """
        model, other = (Path(path).read_bytes() for path in (self._job.artifact, against))
        deployed = runtime(self._job.runtime)
        reader = deployed.layers
        assert reader is not None, "whoever starts this program asks for runtimes whose layers can be read"
        quantized, real = (reader(data, self._job.num_threads) for data in (model, other))
        judge = deployed.load(model, self._job.num_threads, deployed.kernels[0])
        photos = [self._job.num_photos * number // num_photos for number in range(num_photos)]

        first = self.photos(photos[0], 1)
        shapes = [[values.shape for values in session.run(first)] for session in (quantized, real)]
        matching = match(quantized.layers, shapes[0], real.layers, shapes[1])
        fed = [(i, j) for i, j in matching.pairs if real.is_float[j]]
        pieces = reader(other, self._job.num_threads, [j for _, j in fed])
        compared = [Compared(Sums(), Sums()) for _ in matching.pairs]
        answer_difference = 0.0
        for number in photos:
            photo = self.photos(number, 1)
            values, real_values = quantized.run(photo), real.run(photo)
            piece_values = pieces.run(photo, [values[i] for i, _ in fed])
            for sums, (i, j) in zip(compared, matching.pairs, strict=True):
                sums.in_network.add(real_values[j], values[i])
                sums.own.add(piece_values[j], values[i])
            difference = np.abs(values[-1].ravel() - judge.predict(photo).ravel())
            answer_difference = max(answer_difference, float(np.max(difference)))
        return _findings(quantized.layers, real.layers, matching, compared, answer_difference)


def _findings(
    quantized: tuple[Layer, ...],
    real: tuple[Layer, ...],
    matching: Matching,
    compared: Sequence[Compared],
    answer_difference: float,
) -> dict[str, Any]:
    """Make the answer of ``compare`` from the sums of all layers.

    ``answer_difference`` is the largest difference between the answers with the layers read and the deployed ones.
    """
    found, broken, silent = [], [], []
    for sums, (i, _) in zip(compared, matching.pairs, strict=True):
        layer, both = quantized[i], (sums.in_network, sums.own)
        if not all(part.is_finite for part in both):
            broken.append(layer.name)
        elif any(part.signal == 0 < part.error for part in both):
            silent.append(layer.name)
        else:
            found.append(
                {
                    "name": layer.name,
                    "operator": layer.operator,
                    "sqnr_db": sums.in_network.sqnr_db,
                    "cosine": sums.in_network.cosine,
                    "own_sqnr_db": sums.own.sqnr_db,
                }
            )
    notes = [
        _sentence("without a counterpart in the float model", [quantized[i].name for i in matching.only_left]),
        _sentence("only in the float model", [real[i].name for i in matching.only_right]),
        _sentence("with values that are not finite", broken),
        _sentence("zero on every photo in the float model, so no ratio can be given", silent),
    ]
    if answer_difference > _ROUNDING:
        notes.append(
            "These are not exactly the deployed kernels: with the layers read, the answers differ from the deployed "
            f"artifact's by up to {answer_difference:.2g}."
        )
    return {"layers": found, "notes": [note for note in notes if note]}


def _sentence(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"Not compared: {len(names)} {what}: {', '.join(names[:_MAX_NAMES])}{more}."


def main() -> None:
    serve(LayerWorker)


if __name__ == "__main__":
    main()
