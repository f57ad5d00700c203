"""This module is the one place that imports TensorFlow: quiet, on the right device, repeatable where asked."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tledge.errors import REINSTALL, EnvironmentFault
from tledge.machine import cpu_name, usable_cores
from tledge.records import DeviceRecord
from tledge.room import require_address_space
from tledge.search_paths import require_no_gpu_tools

# What the build of a small network takes, and each core's threads. These were measured with TensorFlow 2.21 on Linux.
_ADDRESS_SPACE_BYTES, _BYTES_OF_A_CORE = 2_700_000_000, 150_000_000
_MOST_ADDRESSES = 6 * 10**9  # a confined process has 8 GiB, on machines of many cores too


def tensorflow(seed: int | None = None) -> Any:
    """Import and return TensorFlow, with its messages below the level of errors switched off.

    With ``seed``, every generator is seeded and operators are made deterministic, on GPUs too. Raises InputError where
    a GPU is used and the working directory has a program that TensorFlow would run.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when the C++ library loads
    # Makes TensorFlow's own lazy tf.keras the one that we import by name, and saves importing Keras 3: a second.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    tf = _imported()
    tf.get_logger().setLevel("ERROR")  # its warnings concern deprecated calls inside the libraries, not in tledge

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        require_no_gpu_tools()
    for gpu in gpus:
        # Without growth TensorFlow takes the whole card; it can't be set once the card is in use.
        if tf.config.experimental.get_memory_growth(gpu) is not True:
            tf.config.experimental.set_memory_growth(gpu, True)
    if seed is not None:
        import tf_keras

        tf_keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
    return tf


def least_address_space() -> int:
    """Return how many bytes of addresses TensorFlow takes on this machine, at most what a confined process may take."""
    return min(_ADDRESS_SPACE_BYTES + _BYTES_OF_A_CORE * usable_cores(), _MOST_ADDRESSES)


def _imported() -> Any:
    """Import TensorFlow.

    Raises EnvironmentFault where the machine refuses it. Where the address space is too small, TensorFlow would end the
    process in the middle of the work.
    """
    if sys.flags.optimize >= 2:
        raise EnvironmentFault(
            "TensorFlow can't be loaded by a Python that leaves out docstrings. Drop PYTHONOPTIMIZE=2, or -OO; "
            "PYTHONOPTIMIZE=1 is fine."
        )
    if "tensorflow" not in sys.modules:
        require_address_space(least_address_space(), "TensorFlow")
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - a user without a home folder, for whom Keras would make ./~
        os.environ.setdefault("KERAS_HOME", str(Path(tempfile.gettempdir(), ".keras")))
    try:
        import tensorflow as tf
    except Exception as error:  # a damaged library raises whatever its first lines run into
        told = EnvironmentFault(f"TensorFlow can't be loaded ({type(error).__name__}: {error}). {REINSTALL}")
        raise told from error
    return tf


def device() -> DeviceRecord:
    """Name the device that TensorFlow computes on: the GPUs it sees, else the CPU."""
    tf = tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return DeviceRecord(kind="GPU", name=details.get("device_name", gpus[0].name), count=len(gpus))
    return DeviceRecord(kind="CPU", name=cpu_name(), count=usable_cores())
