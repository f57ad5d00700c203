"""What a user can get wrong: the message names the thing and the way out, and the exit code says whose it is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tledge.outputs import MARK
from tledge.run import Run, tree_hashes
from tledge.verification import targets

GATE, INPUT, ENVIRONMENT = 1, 2, 3
Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "name", "near"),
    [
        (["build", "--dataset", "tf_flower"], "unknown data set 'tf_flower'", "'tf_flowers'"),
        (["build", "--dataset", "digit"], "unknown data set 'digit'", "'digits'"),
        (["build", "--dataset", "no-such-thing-at-all"], "unknown data set 'no-such-thing-at-all'", "./PATH"),
        (["build", "--dataset", "./nowhere"], "data set folder nowhere", "no such folder"),
        (["build", "--dataset", "digits", "--backbone", "bundeld"], "unknown backbone 'bundeld'", "'bundled'"),
        (["export", "--format", "tflite-int4"], "unknown format 'tflite-int4'", "'tflite-int8'"),
        (["export", "--format", "al"], "unknown format 'al'", "'all'"),
        (["verify", "--target", "rasberry-pi-4"], "unknown target 'rasberry-pi-4'", "'raspberry-pi-4'"),
        (["verify", "--target", "my.toml"], "my.toml", "no such file"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    tledge: Command, tmp_path: Path, arguments: list[str], name: str, near: str
) -> None:
    outcome = tledge(*arguments, "--artifacts", tmp_path)
    assert outcome.code == INPUT
    assert name in outcome.err
    assert near in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("command", [["export", "--format", "tflite-int8"], ["verify"]])
def test_an_unknown_run_is_refused_with_the_nearest_known_one(tledge: Command, built: Run, command: list[str]) -> None:
    outcome = tledge(*command, "--run", "digist", "--artifacts", built.folder.parent)
    assert outcome.code == INPUT
    assert "unknown run 'digist'. Did you mean 'digits'?" in outcome.err
    assert "tledge runs" in outcome.err


def test_an_unknown_artifact_of_a_run_is_refused_with_the_nearest_known_one(tledge: Command, run_copy: Run) -> None:
    outcome = tledge("verify", "--format", "onnx-int4", "--artifacts", run_copy.folder.parent)
    assert outcome.code == INPUT
    assert "'onnx-int4'. Did you mean 'onnx-int8'?" in outcome.err
    assert "Make others with tledge export: its --help lists the formats." in outcome.err


def test_an_unknown_option_is_refused_with_the_nearest_known_one(tledge: Command) -> None:
    outcome = tledge("build", "--datset", "digits")
    assert outcome.code == INPUT
    assert "--dataset" in outcome.err


def test_a_target_file_with_a_mistake_is_refused_by_name(tledge: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((targets.folder() / "cpu.toml").read_text().replace("threads =", "thread =", 1))
    outcome = tledge("verify", "--target", path, "--artifacts", tmp_path)
    assert outcome.code == INPUT
    assert f"unknown key in target {path} 'thread'. Did you mean 'threads'?" in outcome.err


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("learning-rate", "-1", "greater than 0"),
        ("learning-rate", "nan", "a finite number"),
        ("learning-rate", "11", "less than or equal to 10"),
        ("dropout", "2", "less than 1"),
        ("dropout", "-0.1", "greater than or equal to 0"),
        ("label-smoothing", "1", "less than 1"),
        ("max-epochs", "0", "greater than or equal to 1"),
        ("patience", "0", "greater than or equal to 1"),
        ("batch-size", "0", "greater than or equal to 1"),
        ("seed", "-1", "from 0 to"),
        ("image-size", "0", "from 1 to 4096"),
        ("image-size", "-96", "from 1 to 4096"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_range(
    tledge: Command, tmp_path: Path, option: str, value: str, rule: str
) -> None:
    outcome = tledge(
        "build", "--dataset", "digits", "--backbone", "bundled", f"--{option}", value, "--artifacts", tmp_path
    )
    assert outcome.code == INPUT
    assert f"--{option} {value}" in outcome.err
    assert rule in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_of_a_recipe_file_is_refused_with_the_nearest_known_one(tledge: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "head"\nlearning_rat = 0.01\n')
    outcome = tledge("build", "--dataset", "digits", "--recipe", path, "--artifacts", tmp_path / "artifacts")
    assert outcome.code == INPUT
    assert f"unknown key in {path} 'learning_rat'. Did you mean 'learning_rate'?" in outcome.err
    assert not (tmp_path / "artifacts").exists()


HANDLE = "https://tfhub.dev/someone/module/1"


@pytest.fixture
def in_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Put a copy of a module where the Hub keeps what it downloaded for ``HANDLE``; the folder of it."""

    def put(module: Path) -> Path:
        folder = tmp_path / "hub" / hashlib.sha1(HANDLE.encode()).hexdigest()  # noqa: S324 - the Hub's own cache key
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(folder.parent))
        return shutil.copytree(module, folder)

    return put


@pytest.fixture
def build_on_handle(tledge: Command, tmp_path: Path) -> Command:
    """``tledge build`` of the digits on ``HANDLE``; nothing of it may be left."""

    def run(*options: str) -> Any:
        artifacts = tmp_path / "artifacts"
        outcome = tledge("build", "--dataset", "digits", "--backbone", HANDLE, *options, "--artifacts", artifacts)
        assert [path.name for path in artifacts.iterdir()] == [MARK]
        assert HANDLE in outcome.err
        return outcome

    return run


@pytest.mark.parametrize("kind", ["of text", "of numbers", "of picture to picture", "with two outputs"])
def test_a_handle_that_is_no_image_feature_vector_is_refused(
    build_on_handle: Command, in_the_hub: Callable[[Path], Path], save_module: Callable[..., Path],
    tmp_path: Path, kind: str,
) -> None:  # fmt: skip
    import tensorflow as tf

    if kind == "of text":
        embed = tf.function(lambda text: tf.strings.to_hash_bucket_fast(text, 8), [tf.TensorSpec([None], tf.string)])
        module = tf.train.Checkpoint()
        module.__call__ = embed
        tf.saved_model.save(module, str(tmp_path / "text"))
        in_the_hub(tmp_path / "text")
    else:
        functions: dict[str, Any] = {
            "of numbers": (lambda numbers: numbers * 2.0, (None, 10)),
            "of picture to picture": (lambda pixels: pixels * 2.0,),
            "with two outputs": (lambda pixels: {"boxes": pixels[:, 0, 0], "scores": pixels[:, 0, 0]},),
        }
        in_the_hub(save_module(*functions[kind]))
    outcome = build_on_handle()
    assert outcome.code == INPUT
    assert (
        "StringToHashBucketFast, which no image network needs" if kind == "of text" else "is no image feature vector"
    ) in outcome.err or "not one feature vector an image" in outcome.err


def test_a_handle_that_takes_another_size_than_asked_is_refused(
    build_on_handle: Command, in_the_hub: Callable[[Path], Path], tiny_backbone: Path
) -> None:
    in_the_hub(tiny_backbone)
    outcome = build_on_handle("--image-size", "224")
    assert outcome.code == INPUT
    assert "takes 16 x 16 pixels only. Drop --image-size 224" in outcome.err


@pytest.mark.parametrize(
    ("file", "rest"),
    [
        ("saved_model.pb", None),
        ("saved_model.pb", 0.0),
        ("saved_model.pb", 0.5),
        ("variables/variables.index", None),
        ("variables/variables.data-00000-of-00001", 0.5),
    ],
)
def test_a_download_that_was_interrupted_is_named_with_the_folder_to_remove(
    build_on_handle: Command, in_the_hub: Callable[[Path], Path], file: str, rest: float | None
) -> None:
    import tledge.backbones

    folder = in_the_hub(Path(tledge.backbones.__file__).parent / "bundled")
    path = folder / file
    data = path.read_bytes()
    path.unlink()
    if rest is not None:
        path.write_bytes(data[: int(rest * len(data))])
    outcome = build_on_handle()
    assert outcome.code == ENVIRONMENT
    assert (
        f"its copy in the Hub's cache is not whole, as a download leaves it that was interrupted. Remove {folder}"
        in (outcome.err)
    )


def test_a_number_that_is_none_is_refused(tledge: Command) -> None:
    outcome = tledge("build", "--dataset", "digits", "--max-epochs", "many")
    assert outcome.code == INPUT
    assert "--max-epochs" in outcome.err
    assert "valid integer" in outcome.err


def test_an_image_size_that_the_backbone_does_not_take_is_refused(tledge: Command, tmp_path: Path) -> None:
    outcome = tledge(
        "build", "--dataset", "digits", "--backbone", "bundled", "--image-size", "97", "--artifacts", tmp_path
    )
    assert outcome.code == INPUT
    assert "Drop --image-size 97" in outcome.err


def test_calibration_on_no_photo_is_refused(tledge: Command, run_copy: Run) -> None:
    outcome = tledge(
        "export", "--format", "tflite-int8", "--calibration-samples", "0", "--artifacts", run_copy.folder.parent
    )
    assert outcome.code == INPUT
    assert "--calibration-samples 0: use at least 1" in outcome.err


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp", ".hidden", "", "a b", "x" * 101, "ünï", "latest", "exports\n"])
def test_a_run_name_that_is_no_plain_file_name_is_refused(tledge: Command, tmp_path: Path, name: str) -> None:
    root = tmp_path / "artifacts"
    outcome = tledge("build", "--dataset", "digits", "--backbone", "bundled", "--run", name, "--artifacts", root)
    assert outcome.code == INPUT
    assert f"run name {name!r}" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] in ([], ["artifacts"])
    assert not root.exists() or [path.name for path in root.iterdir()] in ([], [MARK])


@pytest.mark.parametrize("command", [["export", "--format", "tflite-int8"], ["verify"]])
def test_a_run_name_can_not_lead_out_of_the_artifacts_folder(
    tledge: Command, built: Run, tmp_path: Path, command: list[str]
) -> None:
    root = tmp_path / "artifacts"
    root.mkdir()
    outside = os.path.relpath(built.folder, root)
    outcome = tledge(*command, "--run", outside, "--artifacts", root)
    assert outcome.code == INPUT
    assert f"run name {outside!r}" in outcome.err


def test_a_run_is_never_overwritten(tledge: Command, run_copy: Run) -> None:
    before = tree_hashes(run_copy.folder)
    root = run_copy.folder.parent
    outcome = tledge("build", "--dataset", "digits", "--backbone", "bundled", "--run", "digits", "--artifacts", root)
    assert outcome.code == INPUT
    assert "run 'digits' exists already" in outcome.err
    assert "--run" in outcome.err
    assert tree_hashes(run_copy.folder) == before


@pytest.mark.parametrize("command", [["export", "--format", "all"], ["verify"]])
def test_a_stage_before_the_first_build_says_how_to_build(tledge: Command, tmp_path: Path, command: list[str]) -> None:
    outcome = tledge(*command, "--artifacts", tmp_path / "none")
    assert outcome.code == INPUT
    assert "no run in" in outcome.err
    assert "tledge build" in outcome.err


def test_verify_before_export_says_how_to_export(tledge: Command, run_copy: Run) -> None:
    shutil.rmtree(run_copy.folder / "exports")
    outcome = tledge("verify", "--artifacts", run_copy.folder.parent)
    assert outcome.code == INPUT
    assert "run digits has no artifacts yet" in outcome.err
    assert "tledge export --run digits" in outcome.err


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing"])
@pytest.mark.parametrize(
    "file",
    ["manifest.json", "splits.csv", "reference.npz", "history.csv", "model/saved_model.pb", "model/variables/*.data*"],
)
def test_a_damaged_file_of_a_run_is_named_by_export_and_verify(
    tledge: Command, run_copy: Run, file: str, damage: str
) -> None:
    path = next(run_copy.folder.glob(file))
    _damage(path, damage)
    for command in (["export", "--format", "tflite-float32"], ["verify"]):
        outcome = tledge(*command, "--artifacts", run_copy.folder.parent)
        assert outcome.code == ENVIRONMENT, outcome.err
        assert str(path) in outcome.err
        assert "tledge build" in outcome.err


def _failed_row(tledge: Command, run: Run, format_name: str) -> str:
    """Verify two artifacts; the reason why the row of ``format_name`` failed, while the other row stands."""
    for other in set(run.export_names()) - {format_name, "onnx-float32"}:
        shutil.rmtree(run.export_folder(other))
    outcome = tledge("verify", "--accuracy-only", "--json", "--artifacts", run.folder.parent)
    assert outcome.code == GATE, outcome.err
    rows = {row["format"]: row for row in json.loads(outcome.out)["rows"]}
    assert rows["onnx-float32"]["verdict"] != "failed"
    assert rows[format_name]["verdict"] == "failed"
    gates = {name: [check["name"] for check in row["checks"]] for name, row in rows.items()}
    assert gates[format_name] == gates["onnx-float32"]
    return str(rows[format_name]["error"])


@pytest.mark.parametrize("damage", ["changed", "cut short"])
@pytest.mark.parametrize("file", ["exports/tflite-int8/model.tflite", "exports/tflite-int8/export.json"])
def test_a_damaged_artifact_is_named_by_verify_with_the_export_that_repairs_it(
    tledge: Command, run_copy: Run, file: str, damage: str
) -> None:
    _damage(run_copy.folder / file, damage)
    reason = _failed_row(tledge, run_copy, "tflite-int8")
    assert str(run_copy.folder / file) in reason
    if file.endswith(".json"):  # what is in it is unknown, also whether there is a format of this name
        assert f"Export it again, or remove {run_copy.export_folder('tflite-int8')}." in reason
    else:
        assert "Run tledge export --run digits --format tflite-int8 again." in reason


def test_a_missing_artifact_is_named_by_verify(tledge: Command, run_copy: Run) -> None:
    artifact = run_copy.folder / "exports/tflite-float16/model.tflite"
    artifact.unlink()
    reason = _failed_row(tledge, run_copy, "tflite-float16")
    assert f"{artifact}: missing" in reason
    assert "tledge export --run digits --format tflite-float16" in reason


def test_export_repairs_a_damaged_artifact(tledge: Command, run_copy: Run) -> None:
    for file in ("model.tflite", "export.json"):
        _damage(run_copy.folder / "exports/tflite-float32" / file, "cut short")
    outcome = tledge("export", "--format", "tflite-float32", "--artifacts", run_copy.folder.parent)
    assert outcome.code == 0, outcome.err
    assert "tflite-float32" in run_copy.exports()


def test_an_artifact_of_another_build_is_refused(tledge: Command, run_copy: Run) -> None:
    manifest = run_copy.manifest.model_copy(update={"created_utc": "2020-01-01T00:00:00Z"})
    manifest.save(run_copy.folder / "manifest.json")
    outcome = tledge("verify", "--accuracy-only", "--json", "--artifacts", run_copy.folder.parent)
    assert outcome.code == GATE
    for row in json.loads(outcome.out)["rows"]:
        assert "exported from another build" in row["error"]
        assert "tledge export" in row["error"]


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    if how == "cut short":
        del data[len(data) // 2 :]
    else:
        middle = len(data) // 2
        data[middle] = data[middle] + 1 if data[middle] in b"012345678" else data[middle] ^ 1
    path.write_bytes(data)


@pytest.fixture(params=["refuses", "never answers"])
def dead_proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The only way out is a proxy that refuses connections, or that takes them and stays silent."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    if request.param == "refuses":
        listener.close()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # it keeps the proxies of the first call
    yield address
    urllib.request.install_opener(None)  # type: ignore[arg-type]
    listener.close()


@pytest.mark.long
def test_a_backbone_that_is_nowhere_is_an_environment_error_within_30_seconds(
    tledge: Command, dead_proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    started = time.monotonic()
    outcome = tledge("build", "--dataset", "digits", "--artifacts", tmp_path / "artifacts")
    assert time.monotonic() - started < 30
    assert outcome.code == ENVIRONMENT
    assert "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4" in outcome.err
    assert "TFHUB_CACHE_DIR" in outcome.err
    assert "--backbone bundled" in outcome.err
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [MARK]


@pytest.mark.parametrize("command", [["build"], ["tune", "--trials", "1"]])
@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"cat": 3}, "one class (cat), and a classifier needs at least two"),
        ({"cat": 3, "dog": 1}, "a class needs at least two photos, and these have fewer: dog (1)"),
        ({"cat": 0, "dog": 0}, "no photos in it"),
    ],
)
def test_what_the_disk_tells_is_told_before_the_backbone_is_looked_for(
    tledge: Command, dead_proxy: str, photo_folder: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, command: list[str], counts: dict[str, int], said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    outcome = tledge(*command, "--dataset", photo_folder(counts), "--artifacts", tmp_path / "artifacts")
    assert (outcome.code, said in outcome.err) == (INPUT, True), outcome.err


@pytest.mark.long
def test_a_data_set_that_is_nowhere_is_an_environment_error_within_30_seconds(dead_proxy: str, tmp_path: Path) -> None:
    # A process of its own: the library reads TFDS_DATA_DIR once, when it is imported.
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "tfds"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tledge", "build", "--dataset", "tf_flowers", "--backbone", "bundled"]
    ended = subprocess.run(
        [*command, "--artifacts", str(tmp_path / "artifacts")],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == ENVIRONMENT, ended.stderr
    assert "data set 'tf_flowers' is not on this machine" in ended.stderr
    assert f"TFDS_DATA_DIR, now {tmp_path / 'tfds'}" in ended.stderr
    assert "--dataset digits" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "option"), [("build", "--artifacts"), ("tune", "--artifacts"), ("build", "--tensorboard")]
)
def test_a_folder_that_can_not_be_made_is_an_environment_error(
    tledge: Command, tmp_path: Path, command: str, option: str
) -> None:
    (tmp_path / "file").write_text("")
    options = ["--dataset", "digits", "--backbone", "bundled", option, tmp_path / "file" / "a"]
    trials = ["--trials", "1"] if command == "tune" else []
    elsewhere = [] if option == "--artifacts" else ["--artifacts", tmp_path / "artifacts"]
    outcome = tledge(command, *options, *trials, *elsewhere)
    assert outcome.code == ENVIRONMENT
    assert str(tmp_path / "file" / "a") in outcome.err
    assert f"Name another folder with {option}." in outcome.err


def test_a_bug_is_one_line_and_a_saved_traceback(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from tledge.cli.console import run_guarded

    def broken() -> None:
        raise LookupError("the shelf is empty\nand so is the next")

    assert run_guarded(broken) == 70
    message = capfd.readouterr().err
    assert "LookupError: the shelf is empty;" in message
    assert len(message.splitlines()) == 1
    saved = Path(message.split("the traceback is in ")[1].strip())
    assert "raise LookupError" in saved.read_text()
    saved.unlink()


def test_an_interrupt_ends_in_130_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    from tledge.cli.console import run_guarded

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_guarded(interrupted) == 130
    assert capfd.readouterr().err == "interrupted; nothing half-written was kept\n"


def test_the_error_boundary_gives_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    from tledge.cli.console import run_guarded

    before = sys.stderr
    threads = threading.active_count()
    run_guarded(lambda: os.write(2, b"native chatter\n"))
    assert capfd.readouterr().err == ""
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert sys.stderr is before
    assert threading.active_count() == threads
