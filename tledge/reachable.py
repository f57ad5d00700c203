"""This module asks one quick question before a download: does its host answer at all."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from tledge.errors import EnvironmentFault

TIMEOUT_S = 8.0


def require_reachable(url: str, what: str, remedy: str) -> None:
    """Ask ``url`` once, through the proxies of the environment; any answer in HTTP is enough.

    The libraries that download retry for minutes where nothing answers; this function fails within ``TIMEOUT_S``.
    Raises EnvironmentFault, whose message ends in ``remedy``.
    """
    if not url.startswith(("https://", "http://")):
        raise EnvironmentFault(f"{what} is not on this machine, and {url} is no web address. {remedy}")
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "tledge"})  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310 - checked above
            return
    except urllib.error.HTTPError:
        return  # it answered; a server may refuse HEAD and still serve GET
    except (OSError, ValueError, http.client.HTTPException) as error:  # HTTPException: the answer is no HTTP
        reason = str(getattr(error, "reason", error)).strip()
        raise EnvironmentFault(
            f"{what} is not on this machine, and {url} can't be reached ({reason}). {remedy}"
        ) from error
