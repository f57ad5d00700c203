"""This check tells which variables of the environment are set that change how libraries work. It shows no value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tledge.doctor.finding import Check, Finding
from tledge.doctor.private import PLACES

_NAMES = (
    *("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS"),
    *("TF_DETERMINISTIC_OPS", "TF_GPU_ALLOCATOR", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_NUM_INTRAOP_THREADS", "XLA_FLAGS"),
    *("KERAS_BACKEND", "KERAS_HOME", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LD_PRELOAD"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONHASHSEED"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "MPLBACKEND"),
)


def _find(artifacts: Path) -> Iterator[Finding]:
    # PYTHONSAFEPATH is always set: tledge itself does that.
    yield Finding(
        "variables that are set", ", ".join(name for name in (*PLACES, *_NAMES) if name in os.environ) or "none"
    )


CHECK = Check(order=110, find=_find)
