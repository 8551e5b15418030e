"""The JSON protocol, and the example worker, in every mode that Bazel has."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bazel import CHECKOUT, TIMEOUT, Workspace
from conftest import WORKSPACES
from layers import sha256
from workers import workers

MODES = {
    "multiplex": [],
    "multiplex, sandboxed": ["--worker_sandboxing", "--experimental_worker_multiplex_sandboxing"],
    "singleplex": ["--noworker_multiplex"],
    "singleplex, sandboxed": ["--noworker_multiplex", "--worker_sandboxing"],
}


def digests(workspace: Workspace) -> dict[str, str]:
    """The digests of the layers on disk."""
    return {file.name: sha256(file.read_bytes()) for file in workspace.files("//app:root_app")}


@pytest.fixture(scope="module")
def capitals(make_workspace) -> Workspace:
    """The workspace whose actions run the example in the documentation of `bazel_worker`."""
    workspace = make_workspace(WORKSPACES / "worker", "capitals")
    shutil.copy(example_program(), workspace.folder / "capitals" / "worker")
    return workspace


def example_program() -> Path:
    """Compiles the example. Not optimized, because the program's own tests have compiled it that way."""
    command = ["cargo", "build", "--locked", "--package=bazel_worker", "--all-features", "--example=worker", "--message-format=json-render-diagnostics"]
    process = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT)
    artifacts = [json.loads(line) for line in process.stdout.splitlines()]
    (program,) = [artifact["executable"] for artifact in artifacts if artifact.get("executable")]
    return Path(program)


@pytest.mark.parametrize("mode", MODES)
def test_the_example_works(mode, capitals) -> None:
    for name in "accents", "in_json", "plain":
        (capitals.folder / "bazel-bin" / "capitals" / f"{name}.capitals").unlink(missing_ok=True)
    targets = ["//capitals:accents", "//capitals:in_json", "//capitals:plain"]
    spawns = capitals.spawns(*MODES[mode], *targets)
    assert [spawn.runner for spawn in spawns] == ["worker"] * 3
    bin = capitals.folder / "bazel-bin" / "capitals"
    for name in "accents", "in_json":
        assert (bin / f"{name}.capitals").read_text() == "É, È AND Ê\n"
    assert (bin / "plain.capitals").read_text() == "PLAIN\n"


def test_an_error_of_the_example_is_shown(capitals) -> None:
    result = capitals.build("//capitals:latin1", check=False)
    assert result.status != 0
    assert "capitals/latin1.txt" in result.log and "stream did not contain valid UTF-8" in result.log


def test_a_panic_of_the_example_is_shown_and_fails_nothing_else(capitals) -> None:
    result = capitals.build("--keep_going", "//capitals:two_sources", "//capitals:plain", check=False)
    assert result.status != 0
    assert "The worker panicked: the arguments are SOURCE and OUTPUT" in result.log
    assert (capitals.folder / "bazel-bin" / "capitals" / "plain.capitals").exists()
