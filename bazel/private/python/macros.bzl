"""The macros `py_binary`, `py_test` and `py_library`."""

load(":py_executable.bzl", _py_binary = "py_binary", _py_test = "py_test")
load(":py_library.bzl", _py_library = "py_library")
load(":test_runner.bzl", _py_pytest_main = "py_pytest_main")
load(":virtual.bzl", "label_keyed")

def py_library(
        name,
        srcs = None,
        deps = None,
        data = None,
        imports = None,
        virtual_deps = None,
        resolutions = None,
        **kwargs):
    """Python sources that others import.

    Args:
        name: Name of the target.
        srcs: Python sources.
        deps: What they import: libraries of any rule set for Python.
        data: Files and targets that are needed at run time.
        imports: Directories to import from, relative to the package. The root of the repository always is one.
        virtual_deps: Names of distributions that they import, and for which the binary chooses the target.
        resolutions: Targets for virtual dependencies: a dict from names of distributions to labels. Those of the
            binary take precedence.
        **kwargs: Attributes of all targets, such as `visibility`.
    """
    _py_library(
        name = name,
        srcs = srcs,
        deps = deps,
        data = data,
        imports = imports,
        virtual_deps = virtual_deps,
        resolutions = label_keyed(resolutions),
        **kwargs
    )

def py_binary(
        name,
        srcs = None,
        main = None,
        deps = None,
        data = None,
        imports = None,
        python_version = None,
        args = None,
        env = None,
        env_inherit = None,
        env_in_launcher = None,
        interpreter_options = None,
        isolated = None,
        console_scripts = None,
        package_collisions = None,
        resolutions = None,
        **kwargs):
    """A Python program with a virtual environment of its own, started by a native launcher.

    Creates `{name}`, and `{name}.venv`: `bazel run` of the latter makes a virtual environment with the same
    contents outside of the build, for an IDE or a debugger.

    Args:
        name: Name of the target, and of the executable.
        srcs: Python sources.
        main: The source to run: its path in the package, the end of its path, or a label. By default the source
            called `{name}.py`, or the only one.
        deps: What the sources import: libraries of any rule set for Python.
        data: Files and targets that are needed at run time. `python_version` has no effect on them.
        imports: Directories to import from, relative to the package. The root of the repository always is one.
        python_version: Version of Python, X.Y or X.Y.Z, for which a toolchain is registered. The default toolchain's
            if unset.
        args: Arguments that precede those of `bazel run`, and `cmd` of the image's configuration. With
            `$(location)` and other variables.
        env: Environment variables, with `$(location)` and other variables. They are set by `bazel run` and
            `bazel test`, and in the image's configuration.
        env_inherit: Names of variables that `bazel run` and `bazel test` pass on.
        env_in_launcher: Whether the executable itself also sets the variables of `env` that are not set, however
            it is started. False by default.
        interpreter_options: Options of the interpreter, such as `-Xutf8`.
        isolated: Whether variables such as PYTHONPATH and PYTHONUNBUFFERED have no effect (`-I`). True by default.
            Tools that inject modules by PYTHONPATH, such as ddtrace-run, need `False`.
        console_scripts: Names of console scripts of the distributions in `deps`, which become programs in the
            environment's directory `bin`.
        package_collisions: What to do if two distributions have different files of the same path: `error` (the
            default), `warning` or `ignore`. The first one in the order of `deps` is used.
        resolutions: Targets for virtual dependencies: a dict from names of distributions to labels.
        **kwargs: Attributes of all executable targets, such as `visibility` and `tags`.
    """
    _declare(_py_binary, name, main, resolutions, kwargs | dict(
        srcs = srcs,
        deps = deps,
        data = data,
        imports = imports,
        python_version = python_version,
        args = args,
        env = env,
        env_inherit = env_inherit,
        env_in_launcher = env_in_launcher,
        interpreter_options = interpreter_options,
        isolated = isolated,
        console_scripts = console_scripts,
        package_collisions = package_collisions,
    ))

def py_test(
        name,
        main = None,
        pytest_main = False,
        unittest_main = False,
        runner_args = None,
        resolutions = None,
        **kwargs):
    """A Python test.

    Args:
        name: Name of the target.
        main: As for `py_binary`. Without `pytest_main` and `unittest_main`, it is run, and its exit code decides.
        pytest_main: Whether pytest, which must be in `deps`, runs the tests in `srcs`.
        unittest_main: Whether unittest runs the tests in `srcs`.
        runner_args: Arguments of pytest or unittest, which precede those in `args`.
        resolutions: As for `py_binary`.
        **kwargs: Other attributes of `py_binary`, and attributes of all tests, such as `size` and `shard_count`.
    """
    where = "py_test(name = \"{}\")".format(name)
    if pytest_main and unittest_main:
        fail("{}: set pytest_main or unittest_main, not both".format(where))
    if main and (pytest_main or unittest_main):
        fail("{}: remove main: {} runs the tests".format(where, "pytest" if pytest_main else "unittest"))
    if runner_args and not (pytest_main or unittest_main):
        fail("{}: runner_args is for pytest_main or unittest_main; use args".format(where))
    runner = "pytest" if pytest_main else "unittest" if unittest_main else None
    _declare(_py_test, name, main, resolutions, {"testonly": True} | kwargs | {"runner": runner, "runner_args": runner_args})

def py_pytest_main(name, args = [], chdir = None, **kwargs):
    """A main file for tests that pytest runs, as in BUILD files for aspect_rules_py.

    A test has it in `srcs` and `deps`, and its file `{name}.py` as `main`, or `__test__{name}__.py`, as later versions
    call it. `pytest_main = True` is simpler.

    Args:
        name: Name of the target.
        args: Arguments of pytest.
        chdir: The directory that tests run in, relative to the runfiles of the main repository.
        **kwargs: Attributes of `py_library`.
    """
    _py_pytest_main(
        name = name,
        arguments = args,
        directory = chdir,
        main = name + ".py",
        wrapped = "__test__{}__.py".format(name),
        **({"testonly": True} | kwargs)
    )

# What `{name}.venv` has in common with the target that it is for.
_OF_ENVIRONMENT = [
    "compatible_with",
    "data",
    "deps",
    "imports",
    "package_collisions",
    "python_version",
    "restricted_to",
    "target_compatible_with",
    "testonly",
    "visibility",
]

def _declare(rule, name, main, resolutions, attributes):
    resolutions = label_keyed(resolutions)
    rule(
        name = name,
        resolutions = resolutions,
        **(_main(main) | attributes)
    )
    _py_binary(
        name = name + ".venv",
        main_file = Label(":make_venv.py"),
        resolutions = resolutions,
        tags = ["manual"],
        **{key: value for key, value in attributes.items() if key in _OF_ENVIRONMENT}
    )

def _main(main):
    """The attributes for `main`."""
    if not main:
        return {}
    if type(main) != "string" or main.startswith((":", "@", "//")):
        return {"main_file": main}

    # A path may be the end of that of a source, as in rules_python, or a label, as in aspect_rules_py since 1.7.
    is_file = native.glob([main], allow_empty = True)
    return {"main": main, "main_file": main if is_file else None}
