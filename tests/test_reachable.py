"""Whether a host answers, asked of a real one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tledge.errors import EnvironmentFault
from tledge.reachable import require_reachable


@contextlib.contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """The address of a server that gives one answer."""
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            asker, _ = server.accept()
            with asker:
                asker.recv(4096)
                asker.sendall(answer)

        served = threading.Thread(target=serve)
        served.start()
        yield f"http://localhost:{server.getsockname()[1]}/"
        served.join()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"220 mail at your service\r\n", "220 mail at your service"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "more than 100 headers"),
        (b"", "closed connection"),
    ],
)
def test_what_speaks_no_http_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str
) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    with (
        _answering(answer) as url,
        pytest.raises(EnvironmentFault, match=f"can't be reached .*{reason}.* Use another."),
    ):
        require_reachable(url, "the module", "Use another.")


def test_a_server_that_refuses_the_question_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    with _answering(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n") as url:
        require_reachable(url, "the module", "Use another.")
