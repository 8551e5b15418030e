"""Names of Bazel."""

builtin = struct(PyInfo = PyInfo)
