"""``tledge``, and ``python -m tledge``, run the command line where the system can.

Python itself imports a few modules from the working directory before this one. ``python -P -m tledge`` prevents that.
"""

from __future__ import annotations

import sys

from tledge.systems import unsupported


def main() -> None:
    """Run the command line, or say in one line that this system can't. This is the entry point of the console script."""
    if reason := unsupported():
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(3)
    from tledge.cli.main import main as run

    run()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, before anything else is imported
    main()
