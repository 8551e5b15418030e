"""A mistake in a BUILD file with Python rules causes a message that says what to do."""

import re
from pathlib import Path

import pytest

from bazel import Workspace
from conftest import WORKSPACES

UNRESOLVED = """
py_library(name = "library", srcs = ["x.py"], virtual_deps = ["requests", "six"])
py_binary(name = "wrong", srcs = ["y.py"], deps = [":library"], resolutions = {"six": "@whl_plain//:pkg"})
"""

TWICE = """
py_library(name = "one", srcs = ["x.py"], resolutions = {"six": "@whl_plain//:pkg"}, virtual_deps = ["six"])
py_library(name = "two", srcs = ["x.py"], resolutions = {"six": "@whl_clash//:pkg"})
py_binary(name = "wrong", srcs = ["y.py"], deps = [":one", ":two"])
"""

# What is wrong → the message. Without a newline, it is the attributes of a binary.
MISTAKES = {
    "no_main": ('srcs = ["x.py", "y.py"]', 'set main, since srcs has 2 files and none called "wrong.py"'),
    "no_sources": ("srcs = []", 'set main, since srcs has no file and none called "wrong.py"'),
    "two_mains": (
        'srcs = ["a/wrong.py", "b/wrong.py"]',
        '"wrong.py" is the end of the paths of 2 sources, wrong/a/wrong.py and wrong/b/wrong.py: set main to the whole path',
    ),
    "main_twice": ('srcs = ["a/wrong.py", "b/wrong.py"], main = "wrong.py"', '"wrong.py" is the end of the paths of 2'),
    "main_missing": (
        'srcs = ["x.py"], main = "z.py"',
        'main is "z.py", but no source has this path: add the file to srcs, or write a label',
    ),
    "imports_absolute": (
        'srcs = ["x.py"], imports = ["/usr/lib"]',
        'imports has "/usr/lib": paths are relative to the package',
    ),
    "imports_outside": ('srcs = ["x.py"], imports = ["../.."]', 'imports has "../..", which leads out of the repository'),
    "imports_lines": ('srcs = ["x.py"], imports = ["a\\nimport os"]', 'imports has "a\\nimport os": remove the line break'),
    "interpreter_command": (
        'srcs = ["x.py"], interpreter_options = ["-m pdb"]',
        'interpreter_options has "-m", with which Python does not run the main file',
    ),
    "console_script_path": (
        'srcs = ["x.py"], console_scripts = [".."]',
        'console_scripts has "..", which is not the name of a console script',
    ),
    "console_script_python": (
        'srcs = ["x.py"], console_scripts = ["python3"]',
        'console_scripts has "python3", which is the interpreter',
    ),
    "dependency_file": ('srcs = ["x.py"], deps = ["y.py"]', "source file '//wrong:y.py' is misplaced here"),
    "virtual": (
        UNRESOLVED,
        'nothing resolves the virtual dependencies requests: add them to resolutions, such as {"requests": "@pypi//requests"}',
    ),
    "resolved_twice": (
        TWICE,
        'two libraries resolve the virtual dependency "six": with @@whl_plain//:pkg and @@whl_clash//:pkg. '
        "Choose one in the resolutions of the binary",
    ),
}


@pytest.fixture(scope="module")
def python(make_workspace) -> Workspace:
    """The workspace, with a package for mistakes."""
    workspace = make_workspace(WORKSPACES / "python", "python_mistakes")
    for name in "x.py", "y.py", "wrong.py", "a/wrong.py", "b/wrong.py", "xwrong/wrong.py":
        file = workspace.folder / "wrong" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return workspace


def build(workspace: Workspace, text: str, *options: str):
    """Builds a binary called `wrong`."""
    declaration = text if "\n" in text else f'py_binary(name = "wrong", {text})\n'
    file: Path = workspace.folder / "wrong" / "BUILD.bazel"
    file.write_text(f'load("@rules_pylayer//bazel:python.bzl", "py_binary", "py_library")\n{declaration}')
    return workspace.build("//wrong", *options, check=False)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name, python) -> None:
    text, message = MISTAKES[name]
    result = build(python, text)
    assert result.status != 0
    # What precedes the name of a repository depends on the version of Bazel.
    assert message in re.sub(r"@@\S*[~+](?=whl_)", "@@", result.log)


@pytest.mark.parametrize(
    "text",
    [
        'srcs = ["x.py"]',
        'srcs = ["a/wrong.py", "b/wrong.py"], main = "a/wrong.py"',
        'srcs = ["a/wrong.py", "x.py"]',
        # Only one is in the package; the other one's path has the same end.
        'srcs = ["wrong.py", "xwrong/wrong.py"]',
        'srcs = ["x.py"], main = ":y.py"',
        TWICE.replace('":two"]', '":two"], resolutions = {"six": "@whl_clash//:pkg"}'),
    ],
)
def test_what_is_clear_is_accepted(text, python) -> None:
    result = build(python, text)
    assert result.status == 0, result.log
