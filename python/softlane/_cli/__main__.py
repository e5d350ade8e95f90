"""``python -m softlane._cli``, where the script is not on the path."""

import sys

from softlane._cli import main

sys.exit(main())
