"""``python -m softlane``: the command, where the script is not on the path."""

import sys

from softlane._cli import main

if __name__ == "__main__":
    sys.exit(main())
