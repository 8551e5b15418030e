"""A layer with very many files."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import WORKSPACES
from remote import ALL_REMOTE, server

# Such requests are tens of MB. PYLAYER_E2E_FILES=150000 corresponds to the largest binaries.
FILES = int(os.environ.get("PYLAYER_E2E_FILES", "50000"))
FILES_PER_FOLDER = 1000


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """A binary with `FILES` tiny data files."""
    workspace = make_workspace(WORKSPACES / "large", "large")
    for number in range(FILES):
        file = workspace.folder / path_of(number)
        if number % FILES_PER_FOLDER == 0:
            file.parent.mkdir(parents=True)
        file.write_text(f"{number}\n")
    return workspace


def path_of(number: int) -> str:
    """The path of a file."""
    return f"app/data/a_folder_with_a_long_name_{number // FILES_PER_FOLDER}/{number}.txt"


@pytest.fixture(scope="module")
def address(scratch: Path) -> Iterator[str]:
    """The address of a remote execution server."""
    with server(scratch / "remote_execution_of_many_files") as address:
        yield address


@pytest.mark.parametrize("runner", ["worker", "local", "remote"])
def test_a_layer_has_all_files(runner, workspace, request) -> None:
    (layer,) = workspace.files("//app:layers_default")
    layer.unlink(missing_ok=True)
    options = [f"--strategy=PyImageLayer={runner}"]
    if runner == "remote":
        options = [f"--remote_executor={request.getfixturevalue('address')}", *ALL_REMOTE]
    spawns = workspace.spawns(*options, "//app:layers_default")
    (spawn,) = [spawn for spawn in spawns if spawn.mnemonic == "PyImageLayer"]
    assert spawn.runner == runner
    assert len(spawn.inputs) > FILES
    prefix = "app/app/tool.runfiles/_main/"
    with tarfile.open(layer) as tar:
        found = {member.name.removeprefix("./"): member.size for member in tar if member.isfile()}
    data = {path: size for path, size in found.items() if path.startswith(f"{prefix}app/data/")}
    assert data == {prefix + path_of(number): len(str(number)) + 1 for number in range(FILES)}
