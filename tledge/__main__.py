"""``python -m tledge`` runs the command ``tledge``.

Python itself imports a few modules from the working directory before this one. ``python -P -m tledge`` prevents that.
"""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, before anything else is imported

    from tledge.cli.main import main

    main()
