"""Runs a console script of a distribution.

The launcher passes its name as `-X console_script=NAME`. The metadata of the installed distributions say which function
it is, as pip finds out when it installs them (entry points specification, "console_scripts").
"""

import importlib.metadata
import os
import sys


def find(name):
    """The entry point of a script, or None."""
    for distribution in importlib.metadata.distributions():
        for entry_point in distribution.entry_points:
            if entry_point.group == "console_scripts" and entry_point.name == name:
                return entry_point
    return None


def main():
    """Runs the script as if it was the main file."""
    name = sys._xoptions["console_script"]
    sys.argv[0] = os.path.join(sys.prefix, "bin", name)
    entry_point = find(name)
    if entry_point is None:
        sys.exit(
            "{}: no distribution in this virtual environment has the console script {!r}. Add the one that has it to "
            "deps, with its .dist-info directory.".format(sys.argv[0], name)
        )
    return entry_point.load()()


if __name__ == "__main__":
    sys.exit(main())
