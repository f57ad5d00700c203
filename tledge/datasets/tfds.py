"""This source is an image-classification data set of TensorFlow Datasets, prepared on disk or downloaded."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tledge.datasets import digits
from tledge.datasets.photo_source import Photo, Source
from tledge.errors import EnvironmentFault, InputError, unknown
from tledge.reachable import require_reachable
from tledge.records import SplitName

_NAME_END = re.compile("[/:]")
_BATCH = 64  # A call for each photo would cost more than decoding it.
_SPLITS: dict[str, SplitName] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


class TensorFlowDataset:
    """This source is one prepared data set. Photos stay encoded, so that tledge's own decoder reads them."""

    class_counts: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, spec: str, builder: Any) -> None:
        self.spec = f"tfds:{spec}"
        self.name = f"{builder.name}:{builder.version}"
        self._builder = builder
        self._splits = [name for name in builder.info.splits if name in _SPLITS]
        left_out = ", ".join(sorted(set(builder.info.splits) - set(self._splits)))
        self.warnings: tuple[str, ...] = (f"splits of {self.name} that are not used: {left_out}",) if left_out else ()
        if "train" not in self._splits:
            raise InputError(f"data set {spec!r} has no train split: its splits are {', '.join(builder.info.splits)}")
        self.labels = tuple(builder.info.features["label"].names)
        self.num_photos = sum(builder.info.splits[name].num_examples for name in self._splits)

    def photos(self) -> Iterator[Photo]:
        """Yield the photos in the order of the prepared files, which no shuffle changes."""
        from tledge.tensorflow_setup import tensorflow

        tensorflow()  # the library reads through it, and would let it chatter
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1)
        for name in self._splits:
            data = self._builder.as_dataset(
                split=name,
                decoders={"image": tfds.decode.SkipDecoding()},
                read_config=config,
                shuffle_files=False,
            )
            source_split = _SPLITS[name] if len(self._splits) > 1 else None
            for batch in data.batch(_BATCH).as_numpy_iterator():  # encoded photos are scalars: any sizes fit a batch
                for photo_id, label, image in zip(batch["tfds_id"], batch["label"], batch["image"], strict=True):
                    yield Photo(photo_id.decode(), int(label), source_split, image)


def _tfds() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils import gcs_utils

    # Without this, listing a data set asks a cloud bucket first, with retries, even where all is on disk.
    gcs_utils._is_gcs_disabled = True
    return tfds


def is_known(spec: str) -> bool:
    """Tell whether the library has a data set of this name (``/config`` and ``:version`` are not looked at)."""
    return _NAME_END.split(spec)[0] in _tfds().list_builders(with_community_datasets=False)


def open_tfds(spec: str) -> Source:
    """Open ``NAME``, with ``/CONFIG`` and ``:VERSION`` where wanted, and download it where it is not prepared yet.

    Raises InputError for an unknown name or version, or data that is no image classification. Raises EnvironmentFault
    where the data can't be downloaded.
    """
    tfds = _tfds()
    name = _NAME_END.split(spec)[0]
    if not is_known(spec):
        raise unknown(
            "data set",
            name,
            _near_only(name, [digits.NAME, *tfds.list_builders(with_community_datasets=False)]),
            "Give a TensorFlow Datasets name, a folder (./PATH), or digits, which needs no network.",
        )
    try:
        builder = tfds.builder(spec, try_gcs=False)
    except (
        AssertionError,
        ValueError,
        tfds.core.DatasetNotFoundError,
    ) as error:  # a version or config it does not have
        raise InputError(f"data set {spec!r}: {(str(error).strip() or 'no such version').splitlines()[0]}") from error
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise InputError(
            f"data set {name!r} is no image classification: its features are {', '.join(sorted(features))}"
        )
    if not builder.data_path.exists():
        _download(builder, spec)
    return TensorFlowDataset(spec, builder)


def _near_only(name: str, names: list[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, names, n=3, cutoff=0.5)  # the library knows over a thousand


def _download(builder: Any, spec: str) -> None:
    where = f"Prepared data is looked for in TFDS_DATA_DIR, now {builder.data_path}."
    if str(builder.data_path).startswith("~"):  # the library would make a folder of this name in the working directory
        raise EnvironmentFault(
            f"data set {spec!r}: no home folder is known for this user. Set TFDS_DATA_DIR to a folder that holds it."
        )
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        _require_fetched_by_hand(builder, spec)
    elif builder.url_infos:
        require_reachable(next(iter(builder.url_infos)), f"data set {spec!r}", f"{where} Or use --dataset digits.")
    try:
        # The library's own progress would mix with ours, and with --json.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare(file_format=None)
    except Exception as error:  # its errors of download, checksum and archive have no base class of their own
        raise EnvironmentFault(f"data set {spec!r} could not be downloaded: {error}. {where}") from error


def _require_fetched_by_hand(builder: Any, spec: str) -> None:
    root = Path(builder.data_path).parents[builder.info.full_name.count("/")]
    manual = root / "downloads" / "manual"  # where the library looks
    if not manual.is_dir() or not any(manual.iterdir()):
        how = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        raise EnvironmentFault(f"data set {spec!r} must be downloaded by hand into {manual}: {how}")
