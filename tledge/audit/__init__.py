"""The audit reads what is really inside an artifact, and compares it with what the format promises.

The readers take the file's bytes as hostile: they follow nothing outside the file and run nothing in it.
"""

from tledge.audit.promises import broken_promises, require_promise
from tledge.audit.reading import audit, read_with

__all__ = ["audit", "broken_promises", "read_with", "require_promise"]
