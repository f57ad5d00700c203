"""What the tests share: one small real run, built once, and the command line in this process."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge.backbones import Backbone, open_backbone
from tledge.preprocessing import resize
from tledge.records import ExportRecord, Report
from tledge.run import Run, open_run
from tledge.runtimes import runtimes_for

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow's graphs are many small objects that live on: looking through them as often as Python does by default
# costs tests that build networks about a tenth of their time.
gc.set_threshold(50_000, 20, 20)

Once = Callable[[str, Callable[[Path], object]], Path]
Tests = list[pytest.Item]
SHARED_DATA = ("TFHUB_CACHE_DIR", "TFDS_DATA_DIR")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: Tests) -> None:
    """The README's commands first: of few tests that take long, the last would run while other processes have no more.

    A test of a format that trains is long, since making its file is.
    """
    items.sort(key=lambda item: item.path.name != "test_readme.py")
    for item in items:
        form = item.callspec.params.get("form") if hasattr(item, "callspec") else None
        if getattr(form, "is_trained", False):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pixels and features of the tests stay out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEDGE_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make what takes long once for all test processes, in a folder of its name; those that come later wait for it.

    TLEDGE_TESTS_MADE names a folder in which it lies for the next session of the same checkout, too.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    root = Path(os.environ.get("TLEDGE_TESTS_MADE") or shared)

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            is_made, made = root / f"{name}.made", root / name
            if not is_made.exists():
                shutil.rmtree(made, ignore_errors=True)  # what another process began, and did not end
                make(made)
                is_made.touch()
        return made

    return folder


@pytest.fixture
def tledge(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command line as the console script does, in this process."""

    def run(*arguments: str | Path) -> Outcome:
        from tledge.cli.console import run_guarded
        from tledge.cli.main import app

        capfd.readouterr()
        code = run_guarded(lambda: app([str(argument) for argument in arguments], prog_name="tledge"))
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def built(once: Once) -> Run:
    """Digits on the bundled backbone. Read only: take ``run_copy`` to change something."""
    from tledge.training.build import build

    artifacts = once("built", lambda folder: build("digits", backbone="bundled", run="digits", artifacts=folder))
    return open_run(artifacts, "digits")


@pytest.fixture(scope="session")
def bundled() -> tuple[Backbone, Backbone]:
    """The bundled backbone as it is, and flat. Read only."""
    from sklearn.datasets import load_sample_images

    opaque = open_backbone("bundled")
    photos = np.stack([resize(image, opaque.input_size) for image in load_sample_images().images])
    return opaque, opaque.flat(photos)


@pytest.fixture(scope="session")
def lenet(once: Once) -> Run:
    """LeNet, trained on the digits: of a network so small everything is made in a moment. Read only."""
    from tledge.training.build import build
    from tledge.training.resolve import resolve

    recipe = resolve("scratch", {"max_epochs": 6, "batch_size": 32})
    made = once("lenet", lambda folder: build("digits", backbone="lenet", recipe=recipe, run="lenet", artifacts=folder))
    return open_run(made, "lenet")


@pytest.fixture
def lenet_copy(lenet: Run, tmp_path: Path) -> Run:
    """A copy of it, alone in its artifacts folder ``tmp_path/artifacts``, to be changed at will."""
    shutil.copytree(lenet.folder, tmp_path / "artifacts" / "lenet")
    (tmp_path / "artifacts" / "latest").write_text("lenet\n")
    return open_run(tmp_path / "artifacts", "lenet")


def asked_for(tests: Tests, fixture: str, parameter: str) -> list[Any] | None:
    """The values of a parameter in those of the chosen tests that use a fixture. None if one of them has no such parameter."""
    using = [test for test in tests if fixture in getattr(test, "fixturenames", ())]
    calls = [getattr(test, "callspec", None) for test in using]
    if not all(call and parameter in call.params for call in calls):
        return None
    return [call.params[parameter] for call in calls if call]


def short_name(names: Iterable[str]) -> str:
    """A name of a folder for what is made of these formats."""
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]


@pytest.fixture(scope="session")
def exported(built: Run, once: Once, request: pytest.FixtureRequest) -> tuple[Run, dict[str, ExportRecord]]:
    """A copy of the run with every format exported. Read only.

    Where the chosen tests are about some formats alone, as with ``-k`` and a format's name, it has these. Where no chosen test is
    long, it has no format that trains.
    """
    from tledge.exporters import formats
    from tledge.exporters.options import Options
    from tledge.stages import export

    chosen = request.session.items
    asked = asked_for(chosen, "exported", "form")
    trains = any(test.get_closest_marker("long") for test in chosen)
    forms = [
        form for form in formats().values() if (asked is None or form in asked) and (trains or not form.is_trained)
    ]
    names = [form.name for form in forms]
    epochs = 1 if any(form.is_trained for form in forms) else None

    def make(folder: Path) -> None:
        shutil.copytree(built.folder.parent, folder)
        export(open_run(folder, "digits"), names, options=Options(epochs=epochs), jobs=2)

    run = open_run(once(f"exported-{short_name(names)}", make), "digits")
    return run, {name: run.export_record(name) for name in names}


@pytest.fixture(scope="session")
def verified(exported: tuple[Run, dict[str, ExportRecord]], once: Once) -> Run:
    """A copy of the exported run, verified on the default target. Read only."""
    from tledge.stages import verify
    from tledge.verification.measurement import Wanted

    def make(folder: Path) -> None:
        shutil.copytree(exported[0].folder.parent, folder)
        verify(open_run(folder, "digits"), wanted=Wanted(protocol="quick"))

    return open_run(once(f"verified-{short_name(exported[1])}", make), "digits")


@pytest.fixture(scope="session")
def report(verified: Run) -> Report:
    """Of the verified run."""
    return Report.load(verified.reports() / "report.json", "")


@pytest.fixture
def run_copy(exported: tuple[Run, dict[str, ExportRecord]], tmp_path: Path) -> Run:
    """A copy of the exported run, alone in its artifacts folder ``tmp_path/artifacts``, to be changed at will."""
    root = tmp_path / "artifacts"
    shutil.copytree(exported[0].folder, root / "digits")
    (root / "latest").write_text("digits\n")
    return open_run(root, "digits")


@pytest.fixture(scope="session")
def photo_bytes() -> Callable[..., bytes]:
    """An encoded picture of its own for each seed: a pattern of 24 x 24 coloured pixels."""

    def make(seed: int, encoding: str = "PNG", size: int = 24) -> bytes:
        out = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(out, encoding)
        return out.getvalue()

    return make


@pytest.fixture
def photo_folder(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> Callable[..., Path]:
    """Make ``tmp_path/NAME`` of class folders with so many pictures each; the same arguments, the same pictures."""

    def make(counts: dict[str, int], name: str = "photos", first_seed: int = 0) -> Path:
        seed = first_seed
        for label, count in counts.items():
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:03d}.png").write_bytes(photo_bytes(seed))
                seed += 1
        return tmp_path / name

    return make


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def save_module(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save ``function(pixels)``, over ``shape``, as a module in the Hub's format; any shape and output will do."""

    def save(function: Callable[[Any], Any], shape: tuple[int | None, ...] = (None, 16, 16, 3)) -> Path:
        from tledge.tensorflow_setup import tensorflow

        tf = tensorflow()
        module = tf.train.Checkpoint()  # the plain trackable object: tf.Module keeps `variables` for itself
        module.variables = module.trainable_variables = module.regularization_losses = []

        @tf.function
        def call(inputs: Any, training: bool = False) -> Any:
            return function(inputs)

        for training in (False, True):
            call.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="inputs"), training=training)
        module.__call__ = call
        folder = tmp_path_factory.mktemp("module")
        tf.saved_model.save(module, str(folder))
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_backbone(save_module: Callable[..., Path]) -> Path:
    """A real module that loads and runs in a moment: 16 x 16 pixels, pooled to 48 features."""
    import tensorflow as tf

    return save_module(lambda pixels: tf.reshape(tf.nn.avg_pool2d(pixels, 4, 4, "VALID"), (-1, 48)))


@pytest.fixture(scope="session")
def answers_of() -> Callable[[Path, Iterable[np.ndarray]], np.ndarray]:
    """Answer photos, each uint8 (S, S, 3), with an artifact's file: float32 (N, C), by the runtime that comes first for it."""

    def answer(path: Path, photos: Iterable[np.ndarray]) -> np.ndarray:
        session = runtimes_for(path)[0].load(path.read_bytes(), 1)
        return np.stack([session.predict(photo[None]) for photo in photos])

    return answer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a file system of so many bytes. It is a tmpfs in the mount namespace of a process of our own."""
    holders = []

    def make(size_bytes: int) -> Path:
        point = tmp_path / "disk"
        point.mkdir()
        script = f"mount -t tmpfs -o size={size_bytes} tmpfs '{point}' && echo mounted && exec cat"
        tool = shutil.which("unshare")
        if tool is None:
            pytest.skip("needs unshare, to make a small file system")
        holder = subprocess.Popen(
            [tool, "-rm", "sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        holders.append(holder)
        assert holder.stdout
        if holder.stdout.readline().strip() != "mounted":
            pytest.skip(f"can't make a small file system here: {holder.communicate()[1].strip()}")
        return Path(f"/proc/{holder.pid}/root{point}")

    yield make
    for holder in holders:
        holder.communicate()  # cat ends with its input, and the file system with it


@pytest.fixture(scope="session")
def real_data() -> None:
    """Skip where the real data sets and modules are not on this machine."""
    missing = [name for name in SHARED_DATA if not Path(os.environ.get(name, "/nonexistent")).is_dir()]
    if missing:
        pytest.skip(f"needs real data: set {' and '.join(missing)} to folders that hold tf_flowers and its Hub module")
