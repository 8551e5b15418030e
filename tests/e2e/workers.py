"""Bazel's worker processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bazel import Workspace

Value = TypeVar("Value")

# Much longer than anything takes on a busy machine.
PATIENCE = 600


def workers(workspace: Workspace) -> dict[int, list[str]]:
    """The command lines of the workspace's `pylayer` workers by process ID."""
    output_base = (workspace.folder / "bazel-out").resolve().parents[2]
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")[:-1]
            here = (process / "cwd").readlink()
        except OSError:  # it has ended
            continue
        if "--persistent_worker" in command and "pylayer" in command[0] and here.is_relative_to(output_base):
            found[int(process.name)] = command
    return found


def log(workspace: Workspace) -> str:
    """The logs of all workers of the workspace."""
    folder = (workspace.folder / "bazel-out").resolve().parents[2] / "bazel-workers"
    return "".join(file.read_text() for file in sorted(folder.glob("*PyImageLayer*.log")))


def temporary_files(workspace: Workspace) -> list[Path]:
    """The temporary files of layers that are being written, or were when their worker was killed."""
    return list((workspace.folder / "bazel-bin").rglob(".pylayer-*.tmp"))


def wait_until(condition: Callable[[], Value]) -> Value:
    """Waits until `condition` returns a true value, and returns that."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"timed out after {PATIENCE} seconds"
        time.sleep(0.01)
    return value
