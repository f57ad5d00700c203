"""What every runtime promises, checked on every runtime that is there with every format that it runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Once, asked_for, short_name

from tledge.datasets.run_photos import load_split
from tledge.exporters import chosen, formats
from tledge.progress import Silent
from tledge.run import Run, open_run
from tledge.runtimes import Session, runtime, runtimes, runtimes_for
from tledge.stages import export

FORMATS = {form.name: form for form in chosen(["all"])}
PAIRS = [
    (name, form.name)
    for name, one in runtimes().items()
    for form in FORMATS.values()
    if Path(form.file).suffix in one.suffixes
]
CODE = 1 / 256  # one step of an 8-bit output

pytestmark = pytest.mark.parametrize(("name", "format_name"), PAIRS, ids=["-".join(pair) for pair in PAIRS])


@pytest.fixture(scope="module")
def exported_lenet(lenet: Run, once: Once, request: pytest.FixtureRequest) -> Run:
    """LeNet in every format of ``--format all`` that the chosen tests ask for. Read only."""
    asked = asked_for(request.session.items, "exported_lenet", "format_name")
    names = [name for name in FORMATS if asked is None or name in asked]

    def make(folder: Path) -> None:
        shutil.copytree(lenet.folder, folder / "lenet")
        export(open_run(folder, "lenet"), names)

    return open_run(once(f"exported-lenet-{short_name(names)}", make), "lenet")


@pytest.fixture
def photos(lenet: Run) -> np.ndarray:
    return np.asarray(load_split(lenet, "test", Silent()).pixels[:16])


def _open(run: Run, name: str, format_name: str, kernels: str) -> Session:
    return runtime(name).load((run.export_folder(format_name) / formats()[format_name].file).read_bytes(), 1, kernels)


def _answers(session: Session, photos: np.ndarray) -> np.ndarray:
    return np.stack([session.predict(photo[None]) for photo in photos])


def test_each_set_of_kernels_gives_nearly_the_same_probabilities(
    exported_lenet: Run, photos: np.ndarray, name: str, format_name: str
) -> None:
    path = Path(FORMATS[format_name].file)
    first = runtimes_for(path)[0]
    expected = _answers(_open(exported_lenet, first.name, format_name, first.kernels[0]), photos)
    for kernels in runtime(name).kernels:
        answers = _answers(_open(exported_lenet, name, format_name, kernels), photos)
        assert answers.dtype == np.float32
        assert answers.shape == (len(photos), len(exported_lenet.manifest.labels))
        assert np.abs(answers - expected).max() <= 12 * CODE, kernels


def test_an_answer_is_not_overwritten_by_the_next_one(
    exported_lenet: Run, photos: np.ndarray, name: str, format_name: str
) -> None:
    session = _open(exported_lenet, name, format_name, runtime(name).kernels[0])
    first = session.predict(photos[:1])
    kept = first.copy()
    for photo in photos[1:]:
        session.predict(photo[None])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(session.predict(photos[:1]), kept)


def test_a_runtime_opens_no_damaged_file(exported_lenet: Run, name: str, format_name: str) -> None:
    data = (exported_lenet.export_folder(format_name) / FORMATS[format_name].file).read_bytes()
    one = runtime(name)
    with pytest.raises(Exception):  # noqa: B017 - each library has its own
        one.load(data[:200], 1, one.kernels[0])
