"""Public rules: container image layers from Python binaries.

```starlark
load("@rules_oci//oci:defs.bzl", "oci_image")
load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

oci_image(
    name = "image",
    base = "@distroless_base",
    entrypoint = ["/app/server/server"],
    tars = py_image_layer(
        name = "layers",
        py_binary = "//server",
        root = "/app",
        layer_groups = {"torch": pip_package("torch")},
    ),
)
```
"""

load("//bazel/private:layer_groups.bzl", _pip_package = "pip_package")
load("//bazel/private:layers_info.bzl", _PyImageLayersInfo = "PyImageLayersInfo")
load("//bazel/private:py_image_layer.bzl", _py_image_layer = "py_image_layer")
load(
    "//bazel/private:slim.bzl",
    _INTERPRETER_DESKTOP = "INTERPRETER_DESKTOP",
    _INTERPRETER_HEADERS = "INTERPRETER_HEADERS",
    _INTERPRETER_INSTALLERS = "INTERPRETER_INSTALLERS",
    _INTERPRETER_STATIC_LIBRARIES = "INTERPRETER_STATIC_LIBRARIES",
    _INTERPRETER_TESTS = "INTERPRETER_TESTS",
    _PYCACHE = "PYCACHE",
    _SLIM_INTERPRETER = "SLIM_INTERPRETER",
)
load(
    "//bazel/private:toolchain.bzl",
    _py_image_layer_toolchain = "py_image_layer_toolchain",
    _py_launcher_toolchain = "py_launcher_toolchain",
)

pip_package = _pip_package
py_image_layer = _py_image_layer
py_image_layer_toolchain = _py_image_layer_toolchain
py_launcher_toolchain = _py_launcher_toolchain
PyImageLayersInfo = _PyImageLayersInfo

# Patterns for `exclude`. SLIM_INTERPRETER is the list of all of them.
INTERPRETER_DESKTOP = _INTERPRETER_DESKTOP
INTERPRETER_HEADERS = _INTERPRETER_HEADERS
INTERPRETER_INSTALLERS = _INTERPRETER_INSTALLERS
INTERPRETER_STATIC_LIBRARIES = _INTERPRETER_STATIC_LIBRARIES
INTERPRETER_TESTS = _INTERPRETER_TESTS
PYCACHE = _PYCACHE
SLIM_INTERPRETER = _SLIM_INTERPRETER
