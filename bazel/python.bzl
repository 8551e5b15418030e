"""Public rules: Python binaries, tests and libraries, made for container images.

```starlark
load("@rules_pylayer//bazel:python.bzl", "py_binary")

py_binary(
    name = "server",
    srcs = ["server.py"],
    python_version = "3.12",
    deps = ["@pypi//fastapi"],
)
```
"""

load("//bazel/private/python:macros.bzl", _py_binary = "py_binary", _py_library = "py_library", _py_pytest_main = "py_pytest_main", _py_test = "py_test")
load("//bazel/private/python:virtual.bzl", _resolutions = "resolutions")

py_binary = _py_binary
py_library = _py_library
py_pytest_main = _py_pytest_main
py_test = _py_test
resolutions = _resolutions

# The names by which aspect_rules_py exports its rules, for macros that wrap them.
py_binary_rule = _py_binary
py_test_rule = _py_test
