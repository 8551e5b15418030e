"""Repositories like those of unpacked wheels."""

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_library")

py_library(
    name = "pkg",
    srcs = glob(["site-packages/**/*.py"], allow_empty = True),
    data = glob(["site-packages/**"], exclude = ["**/*.py"], allow_empty = True),
    imports = ["site-packages"],
    visibility = ["//visibility:public"],
    deps = {deps},
)
"""

def _distribution_impl(rctx):
    for path, content in rctx.attr.files.items():
        rctx.file("site-packages/" + path, content)
    rctx.file("BUILD.bazel", _BUILD.format(deps = repr(rctx.attr.requires)))

distribution = repository_rule(
    implementation = _distribution_impl,
    attrs = {
        "files": attr.string_dict(doc = "Contents by path."),
        "requires": attr.string_list(doc = "Labels of other distributions."),
    },
    doc = "An unpacked wheel, with the native rules.",
)

_NATIVE_BUILD = """\
load("@rules_python//python:defs.bzl", "py_library")

[
    py_library(
        name = name,
        srcs = glob([name + "/site-packages/**/*.py"]),
        data = glob([name + "/site-packages/**"], exclude = ["**/*.py"]),
        imports = [name + "/site-packages"],
        visibility = ["//visibility:public"],
        deps = deps,
    )
    for name, deps in [("base", []), ("user", ["base"])]
]
"""

def _native_distributions_impl(rctx):
    rctx.file("base/site-packages/vendor/base/__init__.py", "")
    rctx.file("base.c", "int answer(void) { return 42; }\n")
    rctx.file("user/site-packages/user/__init__.py", "import ctypes, pathlib\nanswer = ctypes.CDLL(str(pathlib.Path(__file__).parent / 'native' / '_user.so')).ask()\n")
    rctx.file("user/site-packages/user/native/__init__.py", "")
    rctx.file("user.c", "int answer(void);\nint ask(void) { return answer(); }\n")
    rctx.execute(["mkdir", "base/site-packages/vendor/base/lib"])
    for command in [
        ["cc", "-shared", "-fPIC", "-o", "base/site-packages/vendor/base/lib/libbase.so.1", "-Wl,-soname,libbase.so.1", "base.c"],
        ["cc", "-shared", "-fPIC", "-o", "user/site-packages/user/native/_user.so", "user.c", "-l:libbase.so.1", "-Lbase/site-packages/vendor/base/lib", "-Wl,-rpath,$ORIGIN/../../vendor/base/lib"],
    ]:
        result = rctx.execute(command)
        if result.return_code:
            fail(result.stderr)
    rctx.file("BUILD.bazel", _NATIVE_BUILD)

native_distributions = repository_rule(
    implementation = _native_distributions_impl,
    doc = "Two wheels: a shared object of one finds a library of the other by `$ORIGIN`, as those for CUDA do.",
)
