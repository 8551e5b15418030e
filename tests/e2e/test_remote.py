"""Layers from remote executors: the same bytes, from only the program and the layer's inputs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bazel import Workspace, program
from conftest import WORKSPACES
from layers import sha256
from remote import ALL_REMOTE, run_in_empty_root, server, write_again

# One target per codec and lazy format.
EXAMPLE_TARGETS = [
    *["//app:layers", "//app:layers_zstd", "//app:layers_tar"],
    *["//app:layers_estargz", "//app:layers_chunked"],
]

# Workspaces whose binaries have runfiles of every kind, and the targets to build.
KINDS = {"options": ["//app:root_app"], "runfiles": ["//:all", "//app:all", "//lib/..."]}

WORKERS_RACE_REMOTE = [
    "--internal_spawn_scheduler",
    "--strategy=PyImageLayer=dynamic",
    "--dynamic_local_strategy=PyImageLayer=worker,sandboxed",
    "--dynamic_remote_strategy=PyImageLayer=remote",
    "--experimental_worker_cancellation",
    "--noremote_accept_cached",
]


@pytest.fixture(scope="module")
def address(scratch: Path) -> Iterator[str]:
    """The address of a remote execution server."""
    with server(scratch / "remote_execution") as address:
        yield address


def digests(workspace: Workspace, targets: list[str]) -> dict[str, str]:
    """The digests of all layers of the targets on disk."""
    files = [file for target in targets for file in workspace.files(target)]
    return {file.name: sha256(file.read_bytes()) for file in files}


@pytest.fixture(scope="module")
def local(example) -> dict[str, str]:
    """The digests of the example's layers, written by local workers."""
    example.build(*EXAMPLE_TARGETS)
    return digests(example, EXAMPLE_TARGETS)


@pytest.fixture(scope="module")
def remote(example, address, local):
    """Writes all layers of the example remotely. Returns the actions."""
    arguments = [f"--remote_executor={address}", *ALL_REMOTE, "--materialize_param_files"]
    return write_again(example, EXAMPLE_TARGETS, *arguments)


def test_all_layers_of_the_example_are_written_remotely_to_the_same_bytes(remote, example, local) -> None:
    assert [spawn.runner for spawn in remote] == ["remote"] * len(local)
    assert digests(example, EXAMPLE_TARGETS) == local


@pytest.mark.parametrize("name", KINDS)
def test_declared_symlinks_and_trees_are_the_same_remotely(name, make_workspace, scratch, address) -> None:
    if not (WORKSPACES / name).exists():
        pytest.skip(f"there is no workspace {name}")
    workspace = make_workspace(WORKSPACES / name, f"{name} remotely")
    targets = [line for target in KINDS[name] for line in layer_targets(workspace, target)]
    workspace.build(*targets)
    expected = digests(workspace, targets)
    spawns = write_again(workspace, targets, f"--remote_executor={address}", *ALL_REMOTE)
    assert {spawn.runner for spawn in spawns} == {"remote"}
    assert digests(workspace, targets) == expected
    workspace.shutdown()


def test_the_report_of_a_failed_validation_comes_back(runfiles, address) -> None:
    result = runfiles.build(f"--remote_executor={address}", *ALL_REMOTE, "//faults:many", check=False)
    assert result.status != 0
    assert "validation found 300 problems" in result.log
    report = (runfiles.folder / "bazel-bin/faults/many.validation").read_text()
    assert len(report.splitlines()) == 300


def test_a_source_directory_is_refused_remotely(make_workspace, scratch, address) -> None:
    workspace = make_workspace(WORKSPACES / "runfiles", "source directory remotely")
    arguments = [f"--remote_executor={address}", "--strategy=PyImageLayer=remote", "--noremote_local_fallback"]
    result = workspace.build(*arguments, "//faults:source_directory", check=False)
    workspace.shutdown()
    assert result.status != 0
    assert "faults/directory is a source directory, whose files Bazel does not track" in result.log


def layer_targets(workspace: Workspace, pattern: str) -> list[str]:
    """The `py_image_layer` targets that match a target pattern."""
    return workspace.run("query", f"kind('py_image_layer rule', {pattern})").output.split()


def test_the_program_is_an_input_of_each_action(remote) -> None:
    digest = sha256(program().read_bytes()).removeprefix("sha256:")
    for spawn in remote:
        assert spawn.inputs[spawn.command[0]] == digest


def test_an_action_has_no_environment(remote) -> None:
    assert [spawn.environment for spawn in remote] == [{}] * len(remote)


@pytest.mark.parametrize("layer", ["interpreter", "numpy", "packages", "default"])
def test_an_action_needs_nothing_but_the_program_and_its_inputs(layer, remote, example, local, folder) -> None:
    name = f"layers_{layer}.tar.gz"
    (spawn,) = [spawn for spawn in remote if any(Path(path).name == name for path in spawn.outputs)]
    process = run_in_empty_root(spawn, example, folder)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    assert files == {*spawn.inputs, *spawn.outputs}
    (written,) = folder.rglob(name)
    assert sha256(written.read_bytes()) == local[name]


def test_remote_executors_and_workers_share_a_cache(remote, example, address, local) -> None:
    # The cache keys would differ if the command lines or the inputs did.
    spawns = write_again(example, ["//app:layers"], f"--remote_cache={address}")
    assert {spawn.runner for spawn in spawns} == {"remote cache hit"}
    assert digests(example, EXAMPLE_TARGETS) == local


def test_whoever_wins_a_race_of_worker_and_remote_the_bytes_are_right(example, address, local) -> None:
    spawns = write_again(example, ["//app:layers"], f"--remote_executor={address}", *WORKERS_RACE_REMOTE)
    assert {spawn.runner for spawn in spawns} <= {"worker", "remote"}
    written = {Path(path).name for spawn in spawns for path in spawn.outputs if ".tar" in path}
    assert written == set(digests(example, ["//app:layers"]))
    assert digests(example, EXAMPLE_TARGETS) == local
