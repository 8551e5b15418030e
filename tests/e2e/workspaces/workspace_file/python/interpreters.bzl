"""Interpreters for one version of Python, chosen by the flag of rules_python."""

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_runtime", "py_runtime_pair")

py_runtime(
    name = "runtime",
    files = glob(["bin/**", "lib/**"]),
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
    flag_values = {{"@rules_python//python/config_settings:python_version": "{version}"}},
)

toolchain(
    name = "toolchain",
    target_settings = {settings},
    toolchain = ":runtimes",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _stand_in_interpreter_impl(rctx):
    minor = rctx.attr.version.rpartition(".")[0]
    rctx.file("bin/python3", "#!/bin/sh\necho stand-in {} \"$@\"\n".format(rctx.attr.version))
    rctx.file("lib/python{}/os.py".format(minor), "")
    rctx.file("BUILD.bazel", _BUILD.format(
        settings = [] if rctx.attr.any_version else [":version"],
        version = rctx.attr.version,
    ))

stand_in_interpreter = repository_rule(
    implementation = _stand_in_interpreter_impl,
    attrs = {
        "any_version": attr.bool(),
        "version": attr.string(),
    },
    doc = "A script in the place of an interpreter.",
)
