"""Starts another binary in its runfiles, which must not take this one's for its own."""

import os
import subprocess
import sys

probe = os.path.join(os.environ["RUNFILES_DIR"], "_main", "app", "probe")
sys.exit(subprocess.call([probe, *sys.argv[1:]]))
