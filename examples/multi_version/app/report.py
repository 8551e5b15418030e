"""Reports which version of Python runs a program."""

import sys

from app.batches import batched


def report():
    """Returns facts about the interpreter, and what the library does with it."""
    return {
        "version": "{}.{}".format(*sys.version_info),
        "executable": sys.executable,
        "batched": batched.__module__,
        "batches": list(batched("abcde", 2)),
    }
