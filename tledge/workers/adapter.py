"""An adapter stands between a run's photos and a file that another tool made: it changes the input and the outputs.

A photo is uint8 RGB, NHWC. A file from elsewhere may want other channels, another scale, another layout or another data
type, and may answer with logits. The adapter is plain NumPy, and no part of a timed inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

Answer = Literal["probabilities", "scores", "logits", "raw"]
_INTEGERS = {"uint8": (0, 255), "int8": (-128, 127)}


@dataclass(frozen=True)
class Adapter:
    """An adapter says how a photo becomes the input of a file, and how the file's outputs become probabilities.

    Attributes:
        layout: order of the input's axes.
        order: order of the input's channels.
        mean: what is subtracted from a pixel of 0 to 255, for each channel in the order of the input.
        std: what the difference is divided by, for each channel.
        data_type: NumPy's name of the input's data type.
        quantization: scale and zero point of an integer input; None where the file gives none, and for a float input.
        dequantization: scale and zero point of the outputs, where the runtime returns them as integers.
        answer: what the outputs are. ``scores`` lie between 0 and 1 and are divided by their sum. ``raw`` outputs pass
            unchanged.
    """

    layout: Literal["NHWC", "NCHW"] = "NHWC"
    order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    data_type: str = "float32"
    quantization: tuple[float, int] | None = None
    dequantization: tuple[float, int] | None = None
    answer: Answer = "probabilities"

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Self:
        """Make an adapter of the plain values that ``dataclasses.asdict`` and JSON make of one."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields)

    def input(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return what the file takes for photos, uint8 RGB (n, S, S, 3)."""
        channels = pixels[..., ::-1] if self.order == "bgr" else pixels
        values = np.stack([table[channels[..., place]] for place, table in enumerate(self.tables())], axis=-1)
        return np.ascontiguousarray(np.moveaxis(values, -1, 1) if self.layout == "NCHW" else values)

    def tables(self) -> npt.NDArray[Any]:
        """Return the input's value for each pixel of each channel, (3, 256). Integers are rounded and cut to their range."""
        real = (np.arange(256, dtype=np.float64)[None] - np.array(self.mean)[:, None]) / np.array(self.std)[:, None]
        if self.data_type not in _INTEGERS:
            return np.asarray(real, self.data_type)
        scale, zero_point = self.quantization or (1.0, 0)
        return np.asarray(np.clip(np.rint(real / scale) + zero_point, *_INTEGERS[self.data_type]), self.data_type)

    def output(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the probabilities (C,) of a photo from the outputs of the file, of any shape with C elements."""
        flat = np.asarray(values, np.float64).ravel()
        if self.dequantization:
            scale, zero_point = self.dequantization
            flat = scale * (flat - zero_point)
        with np.errstate(all="ignore"):  # What is no number shows in the answers, which are checked.
            if self.answer == "scores":
                flat = flat / np.sum(flat) if np.sum(flat) else np.full_like(flat, 1 / len(flat))
            elif self.answer == "logits":
                exponentials = np.exp(flat - np.max(flat))
                flat = exponentials / np.sum(exponentials)
            return flat.astype(np.float32)
