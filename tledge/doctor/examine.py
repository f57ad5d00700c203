"""This module runs every check. What fails in one of them is a finding as well, and the others still run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tledge.doctor.checks import checks
from tledge.doctor.finding import Finding
from tledge.doctor.private import without_names
from tledge.errors import TledgeError

_REPORT_IT = "The other lines hold all the same. Give this line in a bug report."


def examine(artifacts: Path) -> Iterator[Finding]:
    """Yield what is found about this machine, line by line. No text in it names a user, a host or a variable's value.

    ``artifacts`` is the folder of the runs.
    """
    for name, check in checks().items():
        try:
            for finding in check.find(artifacts):
                yield _private(finding)
        except Exception as error:  # a broken library, or a system that refuses what every other one answers
            said = str(error) if isinstance(error, TledgeError) else f"{type(error).__name__}: {error}"
            yield _private(Finding(name, "could not be found out", said, _REPORT_IT))


def _private(finding: Finding) -> Finding:
    texts = {key: without_names(text) for key, text in dataclasses.asdict(finding).items() if text is not None}
    return dataclasses.replace(finding, **texts)
