"""A remote execution server on this machine, and a root folder that contains only an action's inputs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bazel import CHECKOUT, TIMEOUT, Spawn, Workspace

TOOL = CHECKOUT / "tools" / "remote_execution"

# Executes every action remotely, and uses no cached results.
ALL_REMOTE = ["--spawn_strategy=remote", "--noremote_local_fallback", "--noremote_accept_cached"]


@contextmanager
def server(state: Path) -> Iterator[str]:
    """The address of a new server with an empty cache, kept in `state`."""
    process = subprocess.run([TOOL, "start", state], capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    try:
        yield process.stdout.strip()
    finally:
        subprocess.run([TOOL, "stop", state], check=True, timeout=TIMEOUT)


def write_again(workspace: Workspace, targets: list[str], *options: str) -> list[Spawn]:
    """Rewrites all layers of the targets. Returns the actions that wrote them."""
    for target in targets:
        for file in workspace.files(target):
            file.unlink(missing_ok=True)
    return layer_spawns(workspace.spawns(*options, *targets))


def layer_spawns(spawns: list[Spawn]) -> list[Spawn]:
    """The spawns that write a layer."""
    return [spawn for spawn in spawns if spawn.mnemonic == "PyImageLayer"]


def run_in_empty_root(spawn: Spawn, workspace: Workspace, root: Path) -> subprocess.CompletedProcess:
    """Runs an action's command in a chroot with its inputs and nothing else.

    The command also has no environment. Its working directory, Bazel's execution root, is `root`.
    """
    copy_inputs(spawn, workspace, root)
    program, *arguments = spawn.command
    return subprocess.run(
        # Neither program needs anything below the new root.
        [shutil.which("unshare"), "--user", "--map-root-user", shutil.which("chroot"), root, f"/{program}", *arguments],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def copy_inputs(spawn: Spawn, workspace: Workspace, root: Path) -> None:
    """Makes `root` an execution root for an action: with its inputs, and the folders of its outputs."""
    for path in spawn.inputs:
        copy = root / path
        if os.path.lexists(copy):  # an input of another action
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        source = _on_disk(workspace, path)
        # Declared symlinks, whose targets need not exist here, are relative. Links that Bazel makes are absolute.
        is_declared = source.is_symlink() and not source.readlink().is_absolute()
        shutil.copy(source, copy, follow_symlinks=not is_declared)
    for path in spawn.outputs:
        (root / path).parent.mkdir(parents=True, exist_ok=True)


def _on_disk(workspace: Workspace, path: str) -> Path:
    """A file of the execution root, which links to other repositories only during a build."""
    execution_root = (workspace.folder / "bazel-out").resolve().parent
    return execution_root.parents[1] / path if path.startswith("external/") else execution_root / path
