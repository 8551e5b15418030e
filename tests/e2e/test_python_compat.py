"""Python targets of several rule sets in one build, and BUILD files that were written for other rules."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bazel import PLAIN_OUTPUT, TIMEOUT, Workspace, bazel_version
from conftest import WORKSPACES
from machine import python_version

pytestmark = pytest.mark.skipif(bazel_version() >= (8,), reason="the stand-ins for rules_python use what Bazel 7 has")

GENERATIONS = ["listed", "listed_minor", "any"]

MODULES = {
    "mixed.ours": "ours",
    "mixed.theirs": "theirs",
    "mixed.builtin": "builtin",
    "mixed.aspect_1": "aspect_1",
    "mixed.aspect_2": "aspect_2",
    "in_wheel_1": "wheel 1",
    "in_wheel_2": "wheel 2",
}


@pytest.fixture(scope="module", params=GENERATIONS)
def mixed(request, make_workspace) -> Workspace:
    """The workspace, with a stand-in for one generation of rules_python, built."""
    workspace = make_workspace(WORKSPACES / "python_compat", f"python_compat_{request.param}")
    rules_python = workspace.folder / "rules_python"
    shutil.copytree(workspace.folder / "generations" / request.param, rules_python, dirs_exist_ok=True)
    workspace.options.append(f"--override_module=rules_python={rules_python}")
    workspace.build("//mixed/...")
    return workspace


def names(workspace: Workspace, binary: str, *modules: str) -> list[str]:
    """What a binary imports."""
    return json.loads(run(workspace.folder / "bazel-bin" / "mixed" / binary, *modules))


def run(*command: str | Path) -> str:
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_binary_imports_from_libraries_of_every_rule_set(mixed) -> None:
    modules = {**MODULES, "by_pth": "by pth"}
    assert names(mixed, "our_binary", *modules) == [*modules.values()]


@pytest.mark.parametrize("binary", ["rules_python_binary", "aspect_1_binary", "aspect_2_binary"])
def test_a_binary_of_another_rule_set_imports_through_a_library(binary, mixed) -> None:
    assert names(mixed, binary, *MODULES) == [*MODULES.values()]


def test_a_binary_is_a_dependency_of_a_target_of_another_rule_set(mixed) -> None:
    assert names(mixed, "imports_binary") == ["ours"]


# By generation, what the flag of rules_python becomes.
FLAGS = {
    # X.Y is not in the list, and 3.11.7 is newer than this rules_python. 3.10.9 is the flag's default.
    "listed": {"3.11": "3.11.1", "3.11.1": "3.11.1", "3.11.7": "3.10.9"},
    "listed_minor": {"3.11": "3.11", "3.11.1": "3.11.1", "3.11.7": "another"},
    "any": {"3.11": "3.11", "3.11.1": "3.11.1", "3.11.7": "3.11.7"},
}


def test_the_flag_of_rules_python_gets_a_version_that_it_takes(mixed) -> None:
    generation = mixed.folder.name.removeprefix("python_compat_")
    targets = {version: f"//mixed:asks_for_{version}" for version in FLAGS[generation]}
    got = {version: mixed.run("run", *PLAIN_OUTPUT, target).output.strip() for version, target in targets.items()}
    assert got == FLAGS[generation]


def test_a_message_names_registered_interpreters(mixed) -> None:
    folder = mixed.folder / "wrong"
    folder.mkdir()
    (folder / "main.py").touch()
    (folder / "BUILD.bazel").write_text(
        'load("@rules_pylayer//bazel:python.bzl", "py_binary")\n'
        'py_binary(name = "wrong", srcs = ["main.py"], python_version = "3.7")\n'
    )
    log = mixed.build("//wrong", check=False).log
    assert "rules_python's extension has python_3_10, python_3_9_1. Register it: " in log


# --- BUILD files for aspect_rules_py -------------------------------------------------------------


@pytest.fixture(scope="module")
def ported(make_workspace) -> Workspace:
    """The workspace whose package `ported` is written as for aspect_rules_py, built."""
    workspace = make_workspace(WORKSPACES / "python", "ported", options=["--define=SOME_VAR=defined"])
    workspace.build("//ported/...")
    return workspace


def test_tests_for_aspect_rules_py_pass(ported) -> None:
    environment = ["--test_env=INHERITED=inherited", "--test_output=errors"]
    result = ported.run("test", *PLAIN_OUTPUT, *environment, "//ported/...")
    assert result.output.count("PASSED in") == 8


PRINTED = {
    "manage": "plain of ['python{version}', 'site-packages', 'plain', '__init__.py']",
    "manage.override": "plain of ['_main', 'ported', 'own', 'plain.py']",
    "manage.remove": "without plain",
    "main": "main [] 0",
    "main_outside": "main [] 0",
    "main_from_genrule": "generated",
    "main_by_suffix": "generated",
    "by_rule": "main ['by', 'rule'] 1",
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_binary_for_aspect_rules_py_runs(name, ported) -> None:
    assert ported.run("run", *PLAIN_OUTPUT, f"//ported:{name}").output.strip() == PRINTED[name].format(version=python_version())


# --- without Python rules ------------------------------------------------------------------------


def test_layers_need_neither_files_nor_the_extension_of_rules_python(make_workspace) -> None:
    workspace = make_workspace(WORKSPACES / "no_rules_python", "no_rules_python")
    override = f"--override_module=rules_python={workspace.folder / 'rules_python'}"
    workspace.build("//...", override)
    (workspace.folder / "python").mkdir()
    (workspace.folder / "python" / "BUILD.bazel").write_text('load("@rules_pylayer//bazel:python.bzl", "py_binary")\n')
    result = workspace.build("//python:all", override, check=False)
    assert result.status != 0 and "rules_python" in result.log
