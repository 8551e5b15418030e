"""Up to 0.30: Bazel's own provider, which a file cannot export under its name."""

load(":builtin.bzl", "builtin")

PyInfo = builtin.PyInfo
