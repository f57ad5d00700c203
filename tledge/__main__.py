"""``python -m tledge`` is the command ``tledge``."""

from tledge.cli.main import main

if __name__ == "__main__":
    main()
