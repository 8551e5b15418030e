"""Every script that a workflow runs exists, and has the modes and options that the workflow uses."""

import os
import re
from pathlib import Path

from commands import Command, commands
from conftest import CHECKOUT, GITHUB

# Folders with scripts.
SCRIPTS = re.compile(r"(\.\./)*(benches|fuzz|tests|tools)/")


def problems(command: Command) -> list[str]:
    """What is wrong with a command."""
    found = []
    for position, word in enumerate(command.words):
        if not SCRIPTS.match(word):
            continue
        file = Path(os.path.normpath(CHECKOUT / command.directory / word))
        name = file.relative_to(CHECKOUT)
        if not file.exists():
            found.append(f"{command.place}: {name} does not exist")
        elif file.suffix != ".py":
            arguments = command.words[position + 1 :]
            if not os.access(file, os.X_OK):
                found.append(f"{command.place}: {name} is not executable")
            elif name == Path("tests/run"):
                mode = arguments[0] if arguments else "all"
                if mode not in modes():
                    found.append(f"{command.place}: tests/run has no mode {mode}")
            elif name != Path("tools/bazel"):  # passes its arguments on
                options = [argument for argument in arguments if argument.startswith("--")]
                text = file.read_text()
                found += [f"{command.place}: {name} has no {option}" for option in options if option not in text]
    return found


def modes() -> set[str]:
    """The modes in the usage of `tests/run`."""
    return set(re.findall(r"^# tests/run \[?(\w+)", (CHECKOUT / "tests/run").read_text(), re.MULTILINE))


def test_scripts_have_the_modes_and_options_that_workflows_use() -> None:
    assert [problem for command in commands(GITHUB) for problem in problems(command)] == []


def test_workflows_run_the_tests_and_the_release() -> None:
    words = [word for command in commands(GITHUB) for word in command.words]
    assert {"tests/run", "all", "quick", "e2e", "tools/release", "../../tools/bazel"} <= set(words)


def test_a_missing_script_is_found(github) -> None:
    file = github / "workflows/ci.yml"
    text = file.read_text().replace("tests/run e2e", "tests/execute e2e").replace("tests: quick", "tests: fast")
    file.write_text(text)
    found = [problem for command in commands(github) for problem in problems(command)]
    assert "ci.yml: bazel: tests/execute does not exist" in found
    assert "ci.yml: linux: tests/run has no mode fast" in found
