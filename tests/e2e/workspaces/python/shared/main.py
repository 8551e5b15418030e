"""Prints as JSON which modules it finds, and where; runs the binary that is named by an argument."""

import importlib.util
import json
import os
import subprocess
import sys

MODULES = ["app.lib", "plain", "space.one", "hidden"]


def found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if len(sys.argv) > 1:
    sys.exit(subprocess.call([os.path.join(os.environ["RUNFILES_DIR"], sys.argv[1])]))
print(json.dumps({"modules": [name for name in MODULES if found(name)], "prefix": sys.prefix}))
