"""A runtime is what runs an artifact. Each is a file of this package that declares itself in a constant ``RUNTIME``.

Nothing in this package imports TensorFlow: a device has only Python, NumPy and one runtime.
"""

from tledge.runtimes.found import ENTRY_POINTS, runtime, runtimes, runtimes_for
from tledge.runtimes.runtime import LayerReader, LayerSession, Runtime, Session

__all__ = ["ENTRY_POINTS", "LayerReader", "LayerSession", "Runtime", "Session", "runtime", "runtimes", "runtimes_for"]
