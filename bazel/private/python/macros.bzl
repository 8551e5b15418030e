"""The macros `py_binary`, `py_test` and `py_library`."""

load(":py_executable.bzl", _py_binary = "py_binary", _py_test = "py_test")
load(":py_library.bzl", _py_library = "py_library")
load(":test_runner.bzl", _py_pytest_main = "py_pytest_main")
load(":virtual.bzl", "label_keyed")

def py_library(name, resolutions = None, **kwargs):
    """Python sources that others import.

    Args:
        name: Name of the target.
        resolutions: Targets for virtual dependencies: a dict from names of distributions to labels.
        **kwargs: Other attributes.
    """
    _py_library(name = name, resolutions = label_keyed(resolutions), **kwargs)

def py_binary(name, main = None, resolutions = None, **kwargs):
    """A Python program with its own virtual environment, started by a native launcher.

    Args:
        name: Name of the target, and of the executable.
        main: The file to run: a label, or the path of a source or the end of it. By default the source called
            `{name}.py`, or the only one.
        resolutions: Targets for virtual dependencies: a dict from names of distributions to labels.
        **kwargs: Other attributes.
    """
    _declare(_py_binary, name, main, resolutions, kwargs)

def py_test(
        name,
        main = None,
        resolutions = None,
        pytest_main = False,
        unittest_main = False,
        runner_args = None,
        **kwargs):
    """A Python test.

    Args:
        name: Name of the target.
        main: As for `py_binary`. Without `pytest_main` and `unittest_main`, it is executed, and fails the test by its
            exit code.
        resolutions: As for `py_binary`.
        pytest_main: Whether pytest, which must be in `deps`, runs the tests in `srcs`.
        unittest_main: Whether unittest runs the tests in `srcs`.
        runner_args: Arguments of pytest or unittest, which precede those in `args`.
        **kwargs: Other attributes.
    """
    where = "py_test(name = \"{}\")".format(name)
    if pytest_main and unittest_main:
        fail("{}: set pytest_main or unittest_main, not both".format(where))
    if main and (pytest_main or unittest_main):
        fail("{}: remove main: {} runs the tests".format(where, "pytest" if pytest_main else "unittest"))
    if runner_args and not (pytest_main or unittest_main):
        fail("{}: runner_args is for pytest_main or unittest_main; use args".format(where))
    runner = "pytest" if pytest_main else "unittest" if unittest_main else None
    _declare(_py_test, name, main, resolutions, kwargs | {"runner": runner, "runner_args": runner_args})

def py_pytest_main(name, args = [], chdir = None, **kwargs):
    """A main file for tests that pytest runs, as in BUILD files for aspect_rules_py.

    A test has it in `srcs` and `deps`, and its file `{name}.py` as `main`. `pytest_main = True` is simpler.

    Args:
        name: Name of the target.
        args: Arguments of pytest.
        chdir: Not supported.
        **kwargs: Other attributes.
    """
    if chdir:
        fail("py_pytest_main(name = \"{}\"): chdir is not supported: tests run in the runfiles of the main repository".format(name))
    _py_pytest_main(name = name, arguments = args, **({"testonly": True} | kwargs))

def _declare(rule, name, main, resolutions, kwargs):
    rule(
        name = name,
        resolutions = label_keyed(resolutions),
        **(_main(main) | kwargs)
    )

def _main(main):
    """The attributes for `main`."""
    if not main:
        return {}
    is_label = type(main) != "string" or main.startswith((":", "@", "//"))
    return {"main_file": main} if is_label else {"main": main}
