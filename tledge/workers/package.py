"""The worker is packed into one small file, a zip that runs where only Python, NumPy and one runtime are installed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("tledge.workers.worker", "tledge.workers.layer_comparison")
"""The zip can run these programs: ``PYTHONPATH=worker.zip python -m PROGRAM JOB PARENT_PID``."""
_PARTS = (
    "__init__.py",
    "_version.py",
    "errors.py",
    "confinement.py",
    "runtimes",
    "workers/__init__.py",
    "workers/adapter.py",
    "workers/worker.py",
    "workers/layer_comparison.py",
)
_DATE = (1980, 1, 1, 0, 0, 0)  # Every file in the zip has this date, so the same modules give the same bytes.


def write_worker(path: Path) -> None:
    """Write the zip. It holds the modules that run an artifact, and no module that starts workers."""
    root = Path(__file__).parent.parent
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(_files(root)):
            entry = zipfile.ZipInfo(f"tledge/{file.relative_to(root).as_posix()}", _DATE)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def _files(root: Path) -> Iterator[Path]:
    for part in _PARTS:
        yield from [root / part] if part.endswith(".py") else (root / part).rglob("*.py")
