"""The macros `py_binary`, `py_test` and `py_library`."""

load(":py_executable.bzl", _py_binary = "py_binary", _py_test = "py_test")
load(":py_library.bzl", _py_library = "py_library")
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

def py_test(name, main = None, resolutions = None, **kwargs):
    """A Python test.

    Args:
        name: Name of the target.
        main: As for `py_binary`.
        resolutions: As for `py_binary`.
        **kwargs: Other attributes.
    """
    _declare(_py_test, name, main, resolutions, kwargs)

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
