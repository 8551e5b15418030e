import sys

sys.argv[1:] = ["mixed.ours"]

import mixed.all  # noqa: E402, F401
