"""`python_version`: which interpreter a binary gets, and what else it affects."""

import re

import pytest

from bazel import Workspace
from conftest import WORKSPACES, BuiltWorkspace
from machine import python_version


@pytest.fixture(scope="module")
def python(make_workspace) -> BuiltWorkspace:
    """The workspace with binaries for several versions, built."""
    workspace = make_workspace(WORKSPACES / "python", "versions")
    workspace.build("//versions/...")
    return workspace


@pytest.mark.parametrize(("name", "version"), [("old", "3.8"), ("new", "3.99")])
def test_a_binary_runs_the_version_that_it_asks_for(name, version, python) -> None:
    printed = python.run("run", "--color=no", "--curses=no", f"//versions:{name}").output
    assert printed.startswith(f"stand-in {version} -B -I /")


def test_a_binary_that_asks_for_none_gets_the_default(python) -> None:
    paths = python.layers("//versions:layers")["default"].paths
    libraries = [path for path in paths if "/_default.venv/lib/" in path]
    venv = "versions/new.runfiles/_main/versions/_default.venv"
    assert libraries == [f"{venv}/lib/python{python_version()}/site-packages/_first_party.pth"]


def test_an_image_has_every_version_that_its_binaries_ask_for(python) -> None:
    paths = python.layers("//versions:layers")["interpreter"].paths
    libraries = {match[1] for match in map(re.compile(r"(python3\.\d+)/os\.py$").search, paths) if match}
    assert libraries == {"python3.8", f"python{python_version()}", "python3.99"}
    environments = {path for path in python.layers("//versions:layers")["default"].paths if path.endswith("/bin/python3")}
    runfiles = "versions/new.runfiles/_main/versions"
    assert environments == {f"{runfiles}/_{name}.venv/bin/python3" for name in ("default", "new", "old")}


def configurations(workspace: Workspace, target: str) -> dict[str, set[str]]:
    """The configurations in which `target` needs each target of the package."""
    lines = workspace.run("cquery", f"deps({target})").output.splitlines()
    found: dict[str, set[str]] = {}
    for line in lines:
        match = re.fullmatch(r"(//versions:\S+) \((\w+)\)", line)
        if match and match[2] != "null":
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_a_version_is_for_sources_and_not_for_data(python) -> None:
    default = configurations(python, "//versions:default")["//versions:default"]
    found = configurations(python, "//versions:new")
    assert found["//versions:data"] == default
    assert found["//versions:default"] == default
    # One for each version.
    assert len(found["//versions:lib"]) == 3
    assert len(found["//versions:old"]) == len(found["//versions:new"]) == 1


REGISTER = "Register it: python.toolchain(python_version = \"{}\") in MODULE.bazel, python_register_toolchains in a WORKSPACE, or a toolchain of your own"


@pytest.mark.parametrize("version", ["3.7", "3.99", "3.99.1", "4.0"])
def test_a_version_that_is_not_registered_is_an_error(version, python) -> None:
    message = build_one(python, f'python_version = "{version}"')
    assert f"no toolchain is registered for Python {version}; Bazel chose " in message
    assert f"bin/python3, of Python {python_version()}. " in message
    advice = 'but in this version of rules_python, MODULE.bazel must register them: register_toolchains("@python_3_9_toolchains//:all")'
    assert f"rules_python's extension has python_3_9, {advice}. {REGISTER.format(version)}" in message


def test_the_third_number_is_compared_with_that_of_the_interpreter(python) -> None:
    message = build_one(python, 'python_version = "3.98.5"')
    assert "3.98.5" in message and "3.98.1" in message


@pytest.mark.parametrize("version", ["3", "three", "3.011", "3.11.7.1", "3.", ">=3.11"])
def test_a_version_is_written_in_numbers(version, python) -> None:
    message = build_one(python, f'python_version = "{version}"')
    assert f'python_version is "{version}": write X.Y or X.Y.Z, such as "3.12"' in message


@pytest.mark.parametrize("version", ["", "3.12"])
def test_the_python3_of_the_machine_is_no_version(version, python) -> None:
    option = "--extra_toolchains=@bazel_tools//tools/python:autodetecting_toolchain"
    message = build_one(python, f'python_version = "{version}"', option)
    if version:
        assert "no toolchain is registered for Python 3.12. " in message
    else:
        assert "no Python toolchain is registered, only Bazel's, which runs whatever python3 a machine has. " in message


def build_one(workspace: Workspace, attributes: str, *options: str) -> str:
    """Builds a binary that must not build. Returns the message."""
    folder = workspace.folder / "wrong"
    folder.mkdir(exist_ok=True)
    (folder / "main.py").touch()
    (folder / "BUILD.bazel").write_text(
        'load("@rules_pylayer//bazel:python.bzl", "py_binary")\n'
        f'py_binary(name = "wrong", srcs = ["main.py"], {attributes})\n'
    )
    result = workspace.build("//wrong", *options, check=False)
    assert result.status != 0
    return result.log
