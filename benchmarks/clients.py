"""tledge's artifacts, unchanged, in the programs that users deploy with: what each of them answers, photo by photo.

    python benchmarks/clients.py artifacts/flowers --photos 60
    python benchmarks/clients.py artifacts/flowers --clients openvino --formats tflite-int8 --folder /tmp/clients

Takes a run with its artifacts exported. Every client gets an environment of its own (client_environments.py), for which an
index within pip's reach is needed, and answers the same photos of the test split, spread evenly over it. What it must
answer is what tledge's own runtime answers with the same file, one thread.

It prints one JSON object, and a table on standard error: whether the client loads the file, how many of the photos it
agrees on, the largest difference of a probability, the shape it gives for one photo, and whether it names the classes.
Exit code 1 where a client answers otherwise, or refuses a file that it is known to take; what is known of it to be refused
stands in REFUSED. A client without an environment is told of and fails nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from client_environments import CLIENTS, Client, Refused, Unavailable, answers, interpreter
from common import begun
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from tledge.run import Run

# Each by the client's own message: it tells its user, and tledge can't write the format in another way.
REFUSED = {
    ("opencv", "tflite-dynamic"): "hybrid convolution",
    ("opencv", "tflite-int8"): "MEAN of int8",
    ("opencv", "tflite-int16x8"): "int64 tensors",
    ("opencv", "onnx-int8"): "uint8 input between QuantizeLinear and DequantizeLinear",
    ("opencv", "onnx-dynamic"): "DynamicQuantizeLinear",
}
AGREEMENT = 0.95  # of photos: LiteRT's own two sets of kernels agree on 59 of 60 where all is int8
PHOTOS = 60


@dataclass(frozen=True)
class Row:
    """One artifact in one client. ``problem``: what is wrong; None where all is as it must be.

    ``refused``: the client's error; the figures are None where it gave no answers. ``largest_difference``: of a probability.
    """

    client: str
    version: str
    format: str
    num_photos: int
    refused: str | None = None
    num_agreeing: int | None = None
    largest_difference: float | None = None
    shape: tuple[int, ...] | None = None
    names_classes: bool | None = None
    problem: str | None = None


def compared(row: Row, own: npt.NDArray[np.floating], outputs: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Row:
    """The row with its figures. ``own``: tledge's probabilities (N, C); ``outputs``: the client's, (N, anything)."""
    agreeing = int(np.sum(np.argmax(outputs, axis=1) == np.argmax(own, axis=1)))
    largest = float(np.max(np.abs(outputs - own))) if outputs.shape == own.shape else None
    problem = None
    if shape != (1, own.shape[1]):
        problem = f"its output is {list(shape)}, and the file declares {[1, own.shape[1]]}"
    elif largest is None or not np.all(np.isfinite(outputs)):
        problem = "its output is not finite"
    elif agreeing < AGREEMENT * len(own):
        problem = f"it agrees on {agreeing} of {len(own)} photos, and says nothing"
    return replace(row, num_agreeing=agreeing, largest_difference=largest, shape=shape, problem=problem)


def refused(row: Row, error: str) -> Row:
    """The row of a client that did not answer."""
    known = (row.client, row.format) in REFUSED
    return replace(row, refused=error, problem=None if known else "it refuses the file")


def rows(
    run: Run, client: Client, own: Mapping[str, npt.NDArray[np.floating]], folder: Path, root: Path
) -> Iterator[Row]:
    """Every artifact of ``own``, tledge's answers by format, that the client reads.

    ``folder`` holds photos.npy, and gets the client's files; environments lie below ``root``. Raises Unavailable.
    """
    python = interpreter(client, root)
    for name, expected in own.items():
        artifact = run.export_folder(name) / run.export_record(name).file
        if artifact.suffix not in client.runs:
            continue
        row = Row(client.name, client.version, name, len(expected))
        try:
            found = answers(client, python, artifact.resolve(), folder / "photos.npy", folder)
        except Refused as error:
            yield refused(row, str(error))
            continue
        row = compared(row, expected, found.outputs, found.shape)
        yield replace(row, names_classes=found.labels == run.manifest.labels)


def _photos(run: Run, wanted: int) -> npt.NDArray[np.uint8]:
    """uint8 (N, S, S, 3), spread evenly over the test split."""
    from tledge.datasets.run_photos import load_split
    from tledge.progress import Silent

    pixels = load_split(run, "test", Silent()).pixels
    places = np.unique(np.linspace(0, len(pixels) - 1, min(wanted, len(pixels))).astype(np.int64))
    return np.ascontiguousarray(pixels.select(places)[:], np.uint8)


def _own_answers(run: Run, name: str, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
    """Probabilities (N, C) by the runtime that tledge verifies the artifact on."""
    from tledge.inference.run_model import open_model
    from tledge.progress import Silent

    answered = open_model(run, format_name=name).answers(((None, photo) for photo in photos), len(photos), Silent())
    return np.concatenate([probabilities for _, probabilities in answered])


def table(found: Sequence[Row]) -> Table:
    """As it is read by people."""
    from tledge.printable import one_line  # it may quote names that stand in the file

    out = Table(title="artifacts in their clients", title_justify="left")
    for heading in ("client", "file", "loads", "agree", "largest dp", "shape", "names classes", "problem"):
        out.add_column(heading, overflow="fold")
    for row in found:
        figures = ["no", "", "", "", ""]
        if row.refused is None:
            largest = "" if row.largest_difference is None else f"{row.largest_difference:.5f}"
            agree, names = f"{row.num_agreeing}/{row.num_photos}", "yes" if row.names_classes else "no"
            figures = ["yes", agree, largest, str(row.shape), names]
        said = "; ".join(filter(None, [row.problem, row.refused and row.refused[:160]]))
        out.add_row(f"{row.client} {row.version}", row.format, *figures, escape(one_line(said)))
    return out


def main() -> int:
    from tledge.cache import cache_root
    from tledge.run import open_run

    names = [client.name for client in CLIENTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--clients", nargs="+", choices=names, default=names, metavar="CLIENT", help=", ".join(names))
    parser.add_argument("--formats", nargs="+", metavar="FORMAT", help="default: all that were exported")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="of the test split")
    parser.add_argument("--folder", type=Path, default=cache_root() / "clients", help="of the environments")
    asked = parser.parse_args()
    console, _ = begun()
    run = open_run(asked.run.resolve().parent, asked.run.resolve().name)
    photos = _photos(run, asked.photos)
    own = {name: _own_answers(run, name, photos) for name in asked.formats or run.export_names()}
    found: list[Row] = []
    without: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch, "photos.npy"), photos)
        for client in (client for client in CLIENTS if client.name in asked.clients):
            console.print(f"{client.name} ...")
            try:
                found += rows(run, client, own, Path(scratch), asked.folder.resolve())
            except Unavailable as reason:
                without[client.name] = str(reason)
    console.print(table(found))
    for name, reason in without.items():
        console.print(f"warning: {name}: no environment: {reason}", soft_wrap=True, markup=False)
    print(json.dumps({"rows": [asdict(row) for row in found], "no_environment": without}, indent=2))
    return int(any(row.problem for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
