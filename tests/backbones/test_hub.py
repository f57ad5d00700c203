"""Feature vectors of TensorFlow Hub, by folder or handle; what is none is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import DEFAULT, open_backbone
from tledge.backbones.sources.hub import folder_digest
from tledge.errors import EnvironmentFault, InputError

SaveModule = Callable[..., Path]


def test_a_folder_in_the_hubs_format_is_a_backbone(tiny_backbone: Path) -> None:
    backbone = open_backbone(str(tiny_backbone))
    assert (backbone.input_size, backbone.feature_dim) == (16, 48)
    assert backbone.record().sha256 == folder_digest(tiny_backbone)
    white = np.ones((2, 16, 16, 3), np.float32)
    assert np.array_equal(np.asarray(backbone.layer(white)), np.ones((2, 48), np.float32))


def test_the_bundled_backbone_is_small_and_takes_a_small_picture() -> None:
    import tledge.backbones

    backbone = open_backbone("bundled")
    folder = Path(tledge.backbones.__file__).parent / "bundled"
    assert backbone.input_size in (64, 96)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 2_500_000


@pytest.mark.usefixtures("real_data")
def test_the_default_handle_is_found_in_the_hubs_own_cache() -> None:
    backbone = open_backbone(DEFAULT)
    assert (backbone.handle, backbone.input_size, backbone.feature_dim) == (DEFAULT, 224, 1280)


def test_a_module_that_writes_files_is_refused_before_it_is_loaded(save_module: SaveModule, tmp_path: Path) -> None:
    import tensorflow as tf

    def spy(pixels: Any) -> Any:
        tf.io.write_file(str(tmp_path / "loot"), "x")
        return tf.reduce_mean(pixels, (1, 2))

    folder = save_module(spy)
    (tmp_path / "loot").unlink(missing_ok=True)
    with pytest.raises(InputError, match="refused: its graph holds WriteFile"):
        open_backbone(str(folder))
    assert not (tmp_path / "loot").exists()


def test_a_module_that_calls_back_into_python_is_refused(save_module: SaveModule) -> None:
    import tensorflow as tf

    folder = save_module(lambda pixels: tf.numpy_function(lambda x: x, [pixels], tf.float32))
    with pytest.raises(InputError, match="PyFunc"):
        open_backbone(str(folder))


def test_a_folder_without_a_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no saved_model.pb"):
        open_backbone(str(tmp_path))


@pytest.mark.parametrize("handle", ["http://example.org/module/1", "file:///etc", "gs://bucket/module"])
def test_only_https_handles_are_fetched(handle: str) -> None:
    with pytest.raises(InputError, match="only https:// handles and local folders"):
        open_backbone(handle)


def test_a_module_that_takes_no_picture_is_refused(save_module: SaveModule) -> None:
    with pytest.raises(InputError, match="is no image feature vector"):
        open_backbone(str(save_module(lambda values: values * 2.0, (None, 10))))


def test_a_module_that_gives_a_map_of_features_is_refused(save_module: SaveModule) -> None:
    with pytest.raises(InputError, match="not one feature vector an image"):
        open_backbone(str(save_module(lambda pixels: pixels * 2.0)))


def test_a_module_of_any_size_needs_one(save_module: SaveModule) -> None:
    import tensorflow as tf

    folder = save_module(lambda pixels: tf.reduce_mean(pixels, (1, 2)), (None, None, None, 3))
    with pytest.raises(InputError, match="Say which with --image-size"):
        open_backbone(str(folder))
    assert open_backbone(str(folder), 40).input_size == 40


@pytest.mark.parametrize("size", [0, -1, 4097])
def test_an_input_size_out_of_range_is_refused(tiny_backbone: Path, size: int) -> None:
    with pytest.raises(InputError, match=f"--image-size {size}: use a whole number from 1 to 4096"):
        open_backbone(str(tiny_backbone), size)


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("damage", ["cut short", "empty", "missing"])
def test_a_damaged_module_is_an_error_of_its_own(tmp_path: Path, file: str, damage: str) -> None:
    import tledge.backbones

    folder = tmp_path / "module"
    shutil.copytree(Path(tledge.backbones.__file__).parent / "bundled", folder)
    path = folder / file
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut short" else b"")
    if damage == "missing":
        path.unlink()
    with pytest.raises(InputError) as caught:
        open_backbone(str(folder))
    assert str(folder) in str(caught.value)


def test_the_size_of_a_graph_is_asked_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(20 << 30)  # takes no room on the disk
    with pytest.raises(InputError, match=r"saved_model\.pb has 21\.5 GB, more than any graph of an image network"):
        open_backbone(str(tmp_path), 16)


def test_the_digest_of_a_module_sees_every_file(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = tmp_path / "module"
    shutil.copytree(tiny_backbone, copy)
    before = folder_digest(copy)
    assert before == folder_digest(tiny_backbone)
    (copy / "README.md").write_text("a note")
    assert folder_digest(copy) == before
    data = bytearray((copy / "saved_model.pb").read_bytes())
    data[-1] ^= 1
    (copy / "saved_model.pb").write_bytes(data)
    assert folder_digest(copy) != before


def _lock(cached: Path, process: int) -> list[Path]:
    """What the Hub keeps beside a module while ``process`` downloads it."""
    download = "0123456789abcdef" * 2
    lock, part = Path(f"{cached}.lock"), Path(f"{cached}.{download}.tmp")
    lock.write_text(f"{socket.gethostname()}.{process}.{download}")
    part.mkdir()
    (part / "saved_model.pb").write_bytes(b"a part")
    return [lock, part]


def test_what_a_killed_download_left_is_removed_and_what_a_living_one_holds_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing answers there, so that the Hub, which would wait for the lock, is never reached.
    handle = "https://localhost:1/module"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("no_proxy", "localhost")
    cached = tmp_path / hashlib.sha1(handle.encode()).hexdigest()  # noqa: S324 - the Hub's own cache key
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for process, stays in ((ended.pid, False), (os.getpid(), True)):
        files = _lock(cached, process)
        with pytest.raises(EnvironmentFault, match="can't be reached"):
            open_backbone(handle)
        assert [path.exists() for path in files] == [stays, stays]


class _BreaksOff(BaseHTTPRequestHandler):
    """Answers with a chunk that is announced and never comes whole."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"1000\r\n\x1f\x8b\x08")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the class above
        pass


@pytest.fixture
def breaking_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server whose downloads break off, and the certificate to trust."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl, to make a certificate")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    subprocess.run(
        [openssl, "req", "-x509", *made, "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("localhost", 0), _BreaksOff) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_port}/module", certificate
        server.shutdown()
        thread.join()


def test_a_download_that_breaks_off_is_the_machines_fault_and_leaves_nothing(
    breaking_server: tuple[str, Path], tmp_path: Path
) -> None:
    handle, certificate = breaking_server
    cache = tmp_path / "hub"
    # A process of its own: the Hub reads which certificates to trust when it is imported.
    script = f"from tledge.backbones import open_backbone; open_backbone({handle!r})"
    environment = {
        **os.environ, "SSL_CERT_FILE": str(certificate), "no_proxy": "localhost", "TFHUB_CACHE_DIR": str(cache),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith(f"tledge.errors.EnvironmentFault: backbone {handle} could not be downloaded: IncompleteRead")
    assert not any(path.is_dir() for path in cache.iterdir())
