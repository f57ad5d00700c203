"""Time how long photos of a phone take to become pixels: decoded whole, and at a part of their size.

    python benchmarks/large_photos.py --photos 20 --megapixels 24 --input-size 224

The photos are real pictures that are enlarged, with the grain of a sensor, as JPEG of quality 90. Both ways take the photos
in turn, in one process and on one core. The table gives milliseconds a photo, their ratio, the minutes of 3,000 photos on
one core, and the largest difference of a pixel in grey levels.
"""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
from common import begun
from rich.console import Console
from rich.table import Table

GRAIN = 3.0  # standard deviation in grey levels; it decides how many bytes a photo takes


def photo(seed: int, megapixels: float) -> bytes:
    """One photo of 3:2, encoded."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    picture = Image.fromarray(load_sample_images().images[seed % 2])
    enlarged = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(seed).normal(0, GRAIN, (height, width, 1)).astype(np.float32)
    out = io.BytesIO()
    Image.fromarray(np.clip(enlarged + grain, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def main() -> None:
    from tledge.preprocessing import FULL_DECODES, Preparation, prepare_photo

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--input-size", type=int, default=224)
    asked = parser.parse_args()
    begun()
    ways = {"whole": Preparation(version=FULL_DECODES), "part of its size": Preparation()}
    taken_ms: dict[str, list[float]] = {name: [] for name in ways}
    sizes, largest = [], 0
    for seed in range(asked.photos):
        data = photo(seed, asked.megapixels)
        sizes.append(len(data))
        pixels = []
        for name, way in ways.items():
            started = time.perf_counter_ns()
            pixels.append(prepare_photo(data, asked.input_size, way).pixels.astype(int))
            taken_ms[name].append((time.perf_counter_ns() - started) / 1e6)
        largest = max(largest, int(abs(pixels[0] - pixels[1]).max()))
    table = Table("decoded", "median ms", "minutes of 3,000")
    for name, values in taken_ms.items():
        table.add_row(name, f"{np.median(values):.0f}", f"{np.median(values) * 3000 / 60_000:.1f}")
    Console().print(table)
    ratio = np.median(np.divide(*taken_ms.values()))
    print(
        f"{asked.photos} photos of {asked.megapixels:g} megapixels, {np.mean(sizes) / 1e6:.1f} MB each, to "
        f"{asked.input_size} pixels: {ratio:.1f} times faster; largest difference {largest} grey levels"
    )


if __name__ == "__main__":
    main()
