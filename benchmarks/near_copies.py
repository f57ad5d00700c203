"""How far a photo is from itself, encoded or resized again, and how far from other photos: the two error rates of the limit.

    python benchmarks/near_copies.py --dataset tf_flowers --size 224
    python benchmarks/near_copies.py --dataset mnist --size 32
    python benchmarks/near_copies.py --camera 1000 --size 224

Photos of the data set are written again in each of ENCODINGS and compared with what they were. Then the data set is split as
tledge build splits it, and each training photo is compared with the held-out ones; whatever is found there that is no
copy is a false alarm, so it is named. --camera makes a data set instead: frames of a fixed camera, in which one small thing lies
here or there. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tledge import near_copies
from tledge.datasets import Source, open_source
from tledge.datasets.prepare import prepare_dataset
from tledge.preprocessing import decode, resize, to_rgb
from tledge.progress import Silent

_SHOWN = 20
_CAMERA_SEED = 0


def _resized(factor: float, how: Image.Resampling) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize([max(1, round(side * factor)) for side in image.size], how)


def _encoded(image: Image.Image, encoding: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, encoding, **options)
    return out.getvalue()


ENCODINGS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg 95": lambda image: _encoded(image, "JPEG", quality=95),
    "jpeg 60": lambda image: _encoded(image, "JPEG", quality=60),
    "jpeg 30": lambda image: _encoded(image, "JPEG", quality=30),
    "webp 60": lambda image: _encoded(image, "WEBP", quality=60),
    "half, jpeg 85": lambda image: _encoded(_resized(0.5, Image.Resampling.LANCZOS)(image), "JPEG", quality=85),
    "quarter, jpeg 85": lambda image: _encoded(_resized(0.25, Image.Resampling.BILINEAR)(image), "JPEG", quality=85),
    "half as large again, png": lambda image: _encoded(_resized(1.5, Image.Resampling.BICUBIC)(image), "PNG"),
    "0.7 by the nearest pixel, png": lambda image: _encoded(_resized(0.7, Image.Resampling.NEAREST)(image), "PNG"),
}


def copies(source: Source, size: int, most: int) -> dict[str, dict[str, float]]:
    """Distances between photos and their copies, by encoding. Photos are evenly spread over the data set."""
    step = max(1, source.num_photos // most)
    distances: dict[str, list[float]] = {name: [] for name in ENCODINGS}
    for number, photo in enumerate(source.photos()):
        if number % step:
            continue
        image = decode(photo.data) if isinstance(photo.data, bytes) else to_rgb(photo.data)
        original = near_copies.fingerprint(resize(image, size))
        for name, encode in ENCODINGS.items():
            again = near_copies.fingerprint(resize(decode(encode(Image.fromarray(image))), size))
            distances[name].append(float(near_copies.neighbours(again[None], original[None]).distance[0]))
    return {
        name: {
            "median": round(float(np.median(found)), 2),
            "p99": round(float(np.percentile(found, 99)), 2),
            "max": round(max(found), 2),
            "missed_share": round(float(np.mean(np.array(found) > near_copies.MAX_DISTANCE)), 4),
        }
        for name, found in distances.items()
    }


def others(source: Source, size: int, seed: int) -> dict[str, Any]:
    """What a build finds in the data set as it is."""
    data = prepare_dataset(source, size, seed, Silent())
    held_out = np.concatenate([data.splits.rows["validation"], data.splits.rows["test"]])
    kept = np.setdiff1d(np.arange(len(data.ids)), [*held_out, *data.splits.dropped])
    started = time.perf_counter()
    found = near_copies.neighbours(data.fingerprints[kept], data.fingerprints[held_out])
    seconds = time.perf_counter() - started
    return {
        "training_photos": len(kept),
        "held_out_photos": len(held_out),
        "search_s": round(seconds, 2),
        "distance_of_the_nearest": {
            f"p{p}": round(float(np.percentile(found.distance, p)), 2) for p in (0, 0.1, 1, 5, 50)
        },
        "as_near_as_a_copy": int(np.count_nonzero(found.is_near)),
        "dropped": len(data.near_copies.dropped),
        "kept_and_told": data.near_copies.num_kept,
        "dropped_photos": [one.as_json() for one in data.near_copies.dropped[:_SHOWN]],
    }


def camera(folder: Path, count: int) -> None:
    """A data set of frames that one camera took: a scene of scikit-learn with noise, and a dark or a light thing in it."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(_CAMERA_SEED)
    scene = load_sample_image("china.jpg")
    for number in range(count):
        frame = (scene + rng.normal(0, 4, scene.shape)).clip(0, 255).astype(np.uint8)
        top, left = (int(rng.integers(0, side - 32)) for side in scene.shape[:2])
        frame[top : top + 32, left : left + 32] = (30, 225)[number % 2]
        parent = folder / ("dark", "light")[number % 2]
        parent.mkdir(parents=True, exist_ok=True)
        (parent / f"{number:05d}.jpg").write_bytes(_encoded(Image.fromarray(frame), "JPEG", quality=90))


def main() -> None:
    parser = argparse.ArgumentParser(description="The two error rates of what tells near copies.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dataset", help="whatever tledge build takes")
    what.add_argument("--camera", type=int, metavar="FRAMES", help="make a data set of a fixed camera instead")
    parser.add_argument("--size", type=int, required=True, help="side of the model's input, in pixels")
    parser.add_argument("--copies", type=int, default=400, help="photos that are encoded again, about")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.camera:
            camera(Path(folder), options.camera)
        source = open_source(options.dataset or folder)
        found = {
            "dataset": options.dataset or f"{options.camera} frames of a fixed camera",
            "size": options.size,
            "limit": near_copies.MAX_DISTANCE,
            "copies": copies(source, options.size, options.copies),
            "others": others(source, options.size, options.seed),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
