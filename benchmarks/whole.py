"""Whether a run folder is whole: read anew, with none of tledge's own checks.

kill_at_random.py holds what these functions find against what ``tledge.run.open_run`` says. An empty list of
faults means whole. Each fault is one sentence.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

_SEAL = "record_sha256"
_PNG_END = b"IEND\xaeB`\x82"
_REQUIRED = (
    "model/saved_model.pb",
    "model/variables/variables.index",
    "model/variables/variables.data-00000-of-00001",
    "reference.npz",
    "splits.csv",
    "history.csv",
    "history.png",
)
_WRITTEN_LATER = ("exports", "verification")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by its relative path, hidden ones too."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def faults_of_run(folder: Path) -> list[str]:
    """What is wrong with the trained model of a run; its exports and reports have their own functions."""
    try:
        manifest = _sealed(folder / "manifest.json")
        listed: dict[str, str] = manifest["files_sha256"]
        faults = [f"{name} is not listed in the manifest" for name in _REQUIRED if name not in listed]
        for name, expected in listed.items():
            if not (folder / name).is_file():
                faults.append(f"{name} is missing")
            elif sha256(folder / name) != expected:
                faults.append(f"{name} differs from the manifest's hash")
        own = (name for name in tree(folder) if name.split("/")[0] not in (*_WRITTEN_LATER, "manifest.json"))
        faults += [f"{name} stands in the run and not in its manifest" for name in own if name not in listed]
        return faults or _content_faults(folder, manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{folder.name}: {type(error).__name__}: {error}"]


def faults_of_export(folder: Path) -> list[str]:
    """What is wrong with ``exports/<format>/`` of a run, where it has an export.json."""
    from tledge.audit import audit
    from tledge.errors import TledgeError

    try:
        record = _sealed(folder / "export.json")
        artifact = folder / record["file"]
        data = artifact.read_bytes()
        faults = []
        if hashlib.sha256(data).hexdigest() != record["sha256"]:
            faults.append(f"{artifact.name} differs from export.json's hash")
        if len(data) != record["size_bytes"]:
            faults.append(f"{artifact.name} has {len(data)} bytes, export.json says {record['size_bytes']}")
        if record["source_manifest_sha256"] != sha256(folder.parent.parent / "manifest.json"):
            faults.append("exported from another build")
        return faults or ([] if audit(artifact).as_json() == record["audit"] else ["the audit differs from the file"])
    except (OSError, ValueError, KeyError, TypeError, TledgeError) as error:
        return [f"{folder.name}: {type(error).__name__}: {error}"]


def faults_of_report(folder: Path) -> list[str]:
    """What is wrong with ``verification/report.json`` of a run; nothing where there is none."""
    path = folder / "verification" / "report.json"
    if not path.exists():
        return []
    try:
        report = _sealed(path)
        if report["manifest_sha256"] != sha256(folder / "manifest.json"):
            return ["the report is of another build"]
        return [] if report["rows"] else ["the report has no rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"report.json: {type(error).__name__}: {error}"]


def _sealed(path: Path) -> dict[str, Any]:
    """A JSON record whose own hash fits. Raises ValueError where it does not."""
    record: dict[str, Any] = json.loads(path.read_bytes())
    seal = record.pop(_SEAL)
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if hashlib.sha256(text.encode()).hexdigest() != seal:
        raise ValueError(f"{path.name} differs from its own hash")
    return record


def _content_faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that are as they were written, and yet were written short: their content against the manifest."""
    faults = []
    with (folder / "splits.csv").open(newline="", encoding="utf-8") as file:
        members = [row["split"] for row in csv.DictReader(file)]
    for split, record in manifest["splits"].items():
        if members.count(split) != record["num_photos"]:
            faults.append(f"splits.csv has {members.count(split)} {split} photos, not {record['num_photos']}")
    with np.load(folder / "reference.npz", allow_pickle=False) as reference:
        expected = (manifest["splits"]["test"]["num_photos"], len(manifest["labels"]))
        if reference["logits"].shape != expected or not np.all(np.isfinite(reference["logits"])):
            faults.append(f"reference.npz holds no {expected} finite logits")
    rows = len((folder / "history.csv").read_text().splitlines()) - 1
    if rows != manifest["num_epochs"]:
        faults.append(f"history.csv has {rows} epochs, not {manifest['num_epochs']}")
    if not (folder / "history.png").read_bytes().endswith(_PNG_END):
        faults.append("history.png is cut short")
    return faults
