"""The Python runtime that the toolchain gives to a binary."""

load("@pylayer_python//:defs.bzl", "EXTENSION_INTERPRETERS", "EXTENSION_REGISTERS")
load("//bazel/private:runfiles.bzl", "runfiles_path")

PYTHON_TOOLCHAIN_TYPE = "@bazel_tools//tools/python:toolchain_type"

# Bazel's own toolchain, which runs whatever python3 the machine has.
_WRAPPER = "py3wrapper.sh"

def python_runtime(ctx, asked):
    """Returns the runtime of the toolchain.

    Fails if there is none, or if it has another version than `asked`. If the third number is not known here, the
    action of the launcher compares it.

    Args:
        ctx: the rule's context.
        asked: the attribute `python_version`, possibly empty.

    Returns:
        A struct of
        version: X.Y, or X.Yt for an interpreter without a global lock, as in names of directories;
        interpreter: the File, or `None` for an interpreter of the machine;
        path: absolute path of an interpreter of the machine, or `None`;
        files: depset of all files of the runtime;
        patchlevel: the header with the third number of the version, if that was asked for and is not known, or `None`;
        directory: of the interpreter, relative to the runfiles directory, or `None`;
        coverage_tool: the File of the package `coverage`, or `None`;
        coverage_files: depset of what that needs.
    """
    toolchain = ctx.toolchains[PYTHON_TOOLCHAIN_TYPE]
    runtime = getattr(toolchain, "py3_runtime", None) if toolchain else None
    if not runtime or (runtime.interpreter and runtime.interpreter.basename == _WRAPPER):
        fail("{}: {}. {}".format(
            ctx.label,
            "no toolchain is registered for Python {}".format(asked) if asked else "no Python toolchain is registered, only Bazel's, which runs whatever python3 a machine has",
            _advice(asked),
        ))
    info = getattr(runtime, "interpreter_version_info", None)
    files = runtime.files or depset()
    version = _version_of_files(runtime.interpreter, files) if runtime.interpreter else None
    if not version and info:
        version = "{}.{}{}".format(info.major, info.minor, getattr(runtime, "abi_flags", None) or "")
    if not version and runtime.interpreter_path:
        version = _version_of_name(runtime.interpreter_path.rpartition("/")[2])
    if not version:
        fail("{}: the version of the Python toolchain cannot be determined: it has no lib/pythonX.Y/os.py, and its py_runtime no interpreter_version_info. Its interpreter is {}".format(
            ctx.label,
            runtime.interpreter_path or runtime.interpreter.short_path,
        ))
    full = [str(part) for part in [getattr(info, "major", None), getattr(info, "minor", None), getattr(info, "micro", None)] if part != None]
    known = _check_version(ctx.label, asked, version, full, runtime)
    return struct(
        version = version,
        interpreter = runtime.interpreter,
        patchlevel = _patchlevel(version, files) if len(asked.split(".")) > len(known) else None,
        directory = _directory(runtime.interpreter, ctx.workspace_name) if runtime.interpreter else None,
        path = None if runtime.interpreter else runtime.interpreter_path,
        files = depset([runtime.interpreter], transitive = [files]) if runtime.interpreter else depset(),
        coverage_tool = getattr(runtime, "coverage_tool", None),
        coverage_files = getattr(runtime, "coverage_files", None) or depset(),
    )

def _directory(interpreter, workspace):
    """The directory with `bin` and `lib`."""
    return runfiles_path(interpreter.short_path, workspace).rpartition("/")[0].rpartition("/")[0]

def _version_of_files(interpreter, files):
    """The version in the path of the standard library, next to the interpreter's `bin` directory.

    This looks at each file for each binary, which takes 0.2 ms for 1,200 files.
    """
    prefix = interpreter.short_path.rpartition("/")[0].rpartition("/")[0] + "/lib/python"
    for file in files.to_list():
        if file.basename == "os.py" and file.short_path.startswith(prefix):
            version, _, rest = file.short_path.removeprefix(prefix).partition("/")
            if rest == "os.py":
                return version
    return None

def _version_of_name(name):
    """`3.11` for `python3.11`, or `None`."""
    major, dot, minor = name.removeprefix("python").partition(".")
    is_version = name.startswith("python") and dot and major.isdigit() and minor.removesuffix("t").isdigit()
    return "{}.{}".format(major, minor) if is_version else None

def _check_version(label, asked, version, full, runtime):
    """Fails if the runtime is of another version, and returns the numbers of it that are known."""
    parts = asked.split(".") if asked else []
    if asked and (len(parts) not in [2, 3] or [part for part in parts if not part.isdigit() or part != str(int(part))]):
        fail("{}: python_version is \"{}\": write X.Y or X.Y.Z, such as \"3.12\"".format(label, asked))
    known = version.removesuffix("t").split(".")
    if len(full) == 3 and full[:2] == known:
        known = full
    if parts[:len(known)] != known[:len(parts)]:
        fail("{}: no toolchain is registered for Python {}; Bazel chose {}, of Python {}. {}".format(
            label,
            asked,
            runtime.interpreter.owner if runtime.interpreter else runtime.interpreter_path,
            ".".join(known),
            _advice(asked),
        ))
    return known

def _patchlevel(version, files):
    """The header that has the whole version, or `None`."""
    end = "include/python{}/patchlevel.h".format(version)
    for file in files.to_list():
        if file.short_path.endswith(end):
            return file
    return None

def _advice(asked):
    registered = ""
    if EXTENSION_INTERPRETERS:
        registered = "rules_python's extension has {}{}. ".format(
            ", ".join(EXTENSION_INTERPRETERS),
            "" if EXTENSION_REGISTERS else ", but in this version of rules_python, MODULE.bazel must register them: register_toolchains(\"@{}_toolchains//:all\")".format(EXTENSION_INTERPRETERS[0]),
        )
    return "{}Register {}: python.toolchain(python_version = \"{}\") in MODULE.bazel, python_register_toolchains in a WORKSPACE, or a toolchain of your own".format(
        registered,
        "it" if asked else "one",
        asked or "3.12",
    )
