"""Version 1: the provider of rules_python."""

load("@rules_python//python:defs.bzl", "PyInfo")
load("//py:targets.bzl", "SOURCE_ATTRIBUTES", "WHEEL_ATTRIBUTES", "binary", "library", "wheel")

def _new_info(imports, transitive_sources):
    return PyInfo(
        has_py2_only_sources = False,
        has_py3_only_sources = True,
        imports = imports,
        transitive_sources = transitive_sources,
        uses_shared_libraries = False,
    )

def _py_library_impl(ctx):
    return library(ctx, _new_info, PyInfo)

def _py_binary_impl(ctx):
    return binary(ctx, _new_info, PyInfo)

def _py_unpacked_wheel_impl(ctx):
    return wheel(ctx, _new_info, PyInfo)

py_library = rule(
    implementation = _py_library_impl,
    attrs = SOURCE_ATTRIBUTES,
)

py_binary = rule(
    implementation = _py_binary_impl,
    attrs = SOURCE_ATTRIBUTES,
    executable = True,
)

py_unpacked_wheel = rule(
    implementation = _py_unpacked_wheel_impl,
    attrs = WHEEL_ATTRIBUTES,
)
