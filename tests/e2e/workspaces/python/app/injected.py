"""Prints what a module on the PYTHONPATH set, and the import path."""

import sys

print(getattr(sys, "injected", None))
print("\n".join(sys.path))
