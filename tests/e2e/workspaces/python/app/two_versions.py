"""Prints which of two versions of a distribution is installed."""

import importlib.metadata

print(importlib.metadata.version("plain"))
