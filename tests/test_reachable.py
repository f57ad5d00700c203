"""Whether a host answers, asked of a real one."""

from __future__ import annotations

import socket
import threading

import pytest

from tledge.errors import EnvironmentFault
from tledge.network import require_reachable


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
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            asker, _ = server.accept()
            with asker:
                asker.recv(4096)
                asker.sendall(answer)

        served = threading.Thread(target=serve)
        served.start()
        with pytest.raises(EnvironmentFault, match=f"can't be reached .*{reason}.* Use another."):
            require_reachable(f"http://localhost:{server.getsockname()[1]}/", "the module", "Use another.")
        served.join()


def test_a_server_that_refuses_the_question_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            asker, _ = server.accept()
            with asker:
                asker.recv(4096)
                asker.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")

        served = threading.Thread(target=serve)
        served.start()
        require_reachable(f"http://localhost:{server.getsockname()[1]}/", "the module", "Use another.")
        served.join()
