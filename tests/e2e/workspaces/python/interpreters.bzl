"""Interpreters that are registered for one version of Python, as users register their own."""

load("@web_service//python:host_python.bzl", "find_python")

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_runtime", "py_runtime_pair")

py_runtime(
    name = "runtime",
    files = glob(["bin/**", "include/**", "lib/**"], allow_empty = True),
    interpreter = "bin/python3",
    python_version = "PY3",
)

py_runtime_pair(
    name = "runtimes",
    py3_runtime = ":runtime",
    visibility = ["//visibility:public"],
)

config_setting(
    name = "version",
    flag_values = {{"@rules_pylayer//bazel:{flag}": "{version}"}},
)

toolchain(
    name = "toolchain",
    target_settings = [":version"],
    toolchain = ":runtimes",
    toolchain_type = "@rules_python//python:toolchain_type",
)
"""

def _stand_in_interpreter_impl(rctx):
    minor = ".".join(rctx.attr.version.split(".")[:2])
    rctx.file("bin/python3", "#!/bin/sh\necho stand-in {} \"$@\"\n".format(minor))
    rctx.file("lib/python{}/os.py".format(minor), "")
    if rctx.attr.header:
        path = "include/python{}/patchlevel.h".format(minor)
        rctx.file(path, "#define PY_VERSION \"{}\"\n".format(rctx.attr.header))
    rctx.file("BUILD.bazel", _BUILD.format(
        flag = "python_version" if rctx.attr.version != minor else "python_minor_version",
        version = rctx.attr.version,
    ))

stand_in_interpreter = repository_rule(
    implementation = _stand_in_interpreter_impl,
    attrs = {
        "header": attr.string(doc = "The version in a header."),
        "version": attr.string(doc = "The version that it is registered for."),
    },
    doc = "A script in the place of an interpreter.",
)

def _machine_python_impl(rctx):
    rctx.file("BUILD.bazel", "")
    rctx.file("version.bzl", "MACHINE_VERSION = \"{}\"\n".format(find_python(rctx).version))

machine_python = repository_rule(
    implementation = _machine_python_impl,
    doc = "The version, X.Y, of the machine's Python, which is the default one.",
)
