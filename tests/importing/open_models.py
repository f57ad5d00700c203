"""Open models as the process of an import does, many in one process: ``python open_models.py FORMAT PATH ...``.

Beside each model it leaves NAME.opened.npz with its answers and layers, and NAME.json with what it takes or why it is refused.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tledge.backbones.described import to_files
from tledge.importing.foreign import LayersUnknown, Refused, json_of

SIZE = 32


def opened(path: Path, form: Any) -> dict[str, Any]:
    """Open one model."""
    try:
        model = form.open(path)
    except Refused as error:
        return {"refused": str(error)}
    told = json_of(model.taken())
    held: dict[str, Any] = {}
    noise = path.with_name(f"{path.name}.npz")
    if noise.exists():
        held["answers"] = model.answers(np.load(noise)["noise"])
    try:
        described, arrays = to_files(model.network(SIZE))
        held |= {"network": np.frombuffer(described, np.uint8), **arrays}
    except LayersUnknown as error:
        told["unknown"] = str(error)
    np.savez(path.with_name(f"{path.name}.opened.npz"), **held)
    return told


if __name__ == "__main__":
    found = importlib.import_module(f"tledge.importing.formats.{sys.argv[1]}").FORMAT
    for one in map(Path, sys.argv[2:]):
        assert found.claims(one), one
        one.with_name(f"{one.name}.json").write_text(json.dumps(opened(one, found)))
