"""Creates an in-build interpreter from the machine's Python.

The repository has the name and layout of those of rules_python, so it can replace them where their
archives cannot be downloaded: `python_3_11_x86_64-unknown-linux-gnu` contains `bin/python3` and
`lib/python3.11`.
"""

load(":host_python.bzl", "find_python")

_COPY_INTERPRETER = Label(":copy_interpreter.py")

_INTERPRETER_BUILD = """\
load("@rules_python//python:defs.bzl", "py_runtime", "py_runtime_pair")

filegroup(
    name = "files",
    srcs = glob(
        ["**"],
        # Python writes caches if it is run from here.
        exclude = ["*", "**/__pycache__/**"],
    ),
)

py_runtime(
    name = "py3_runtime",
    files = [":files"],
    interpreter = "bin/python3",
    python_version = "PY3",
)

py_runtime_pair(
    name = "runtimes",
    py3_runtime = ":py3_runtime",
    visibility = ["//visibility:public"],
)
"""

_TOOLCHAIN_BUILD = """\
toolchain(
    name = "toolchain",
    target_compatible_with = [
        "@platforms//cpu:{cpu}",
        "@platforms//os:linux",
    ],
    toolchain = "@{interpreter}//:runtimes",
    toolchain_type = "@rules_python//python:toolchain_type",
)
"""

def copy_interpreter(rctx, python):
    """Makes the contents of a repository: an interpreter, its standard library, and the target `runtimes`.

    Args:
        rctx: the `repository_ctx`.
        python: path of the interpreter to copy.
    """
    rctx.watch(_COPY_INTERPRETER)
    result = rctx.execute([python, "-I", rctx.path(_COPY_INTERPRETER), rctx.path(".")])
    if result.return_code:
        fail("Copying the interpreter {} failed:\n{}".format(python, result.stderr))
    rctx.file("BUILD.bazel", _INTERPRETER_BUILD)

def _interpreter_repository_impl(rctx):
    copy_interpreter(rctx, rctx.attr.python)

interpreter_repository = repository_rule(
    implementation = _interpreter_repository_impl,
    attrs = {"python": attr.string(mandatory = True)},
    doc = "A copy of an interpreter of the machine and its standard library.",
)

def _toolchain_repository_impl(rctx):
    rctx.file("BUILD.bazel", _TOOLCHAIN_BUILD.format(
        cpu = rctx.attr.cpu,
        interpreter = rctx.attr.interpreter,
    ))

_toolchain_repository = repository_rule(
    implementation = _toolchain_repository_impl,
    attrs = {
        "cpu": attr.string(mandatory = True),
        "interpreter": attr.string(mandatory = True),
    },
    doc = "The toolchain of an interpreter, under a fixed name for MODULE.bazel.",
)

def _interpreter_impl(mctx):
    python = find_python(mctx)
    name = "python_{}_{}-unknown-linux-gnu".format(python.version.replace(".", "_"), python.cpu)
    interpreter_repository(
        name = name,
        python = python.executable,
    )
    _toolchain_repository(
        name = "python_toolchain",
        cpu = python.cpu,
        interpreter = name,
    )

    # Cheap, and specific to this machine, so it should not be in the lock file.
    return mctx.extension_metadata(reproducible = True)

interpreter = module_extension(
    implementation = _interpreter_impl,
    doc = "Creates the repository `python_toolchain`, whose toolchain runs the machine's Python.",
)
