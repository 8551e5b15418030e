"""Bazel's own rules, which Bazel 7 has."""

# buildifier: disable=native-py
builtin_library = native.py_library
