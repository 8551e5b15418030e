"""The layers of the example, and what is said about them."""

from pathlib import Path

import pytest

from bazel import Spawn, Workspace
from layers import sha256
from programs import both, emulator, program_aarch64, run
from remote import copy_inputs

TARGETS = ["//app:layers", "//app:layers_zstd", "//app:layers_estargz", "//app:layers_chunked"]
# With its runfiles directory.
BINARY = "//app:web"
REPORT = "--output_groups=+report"
# The actions that run the program.
MNEMONICS = {"PyLauncher", "PyImageLayer", "PyImageLayerValidation", "PyImageLayerReport"}
# Not in a worker, so that an action's command line has its arguments.
LOCAL = "--spawn_strategy=local"


@pytest.fixture(scope="module")
def spawns(example) -> list[Spawn]:
    """The actions of the build that ran the program."""
    spawns = example.spawns(LOCAL, REPORT, *TARGETS, BINARY)
    found = [spawn for spawn in spawns if spawn.command[0].endswith("_program")]
    assert {spawn.mnemonic for spawn in found} == MNEMONICS
    return found


def test_every_action_of_its_build_writes_the_same_files(spawns, example, folder) -> None:
    for spawn in spawns:
        copy_inputs(spawn, example, folder)
        output = run([*emulator(), program_aarch64(), *spawn.command[1:]], cwd=folder)
        assert output == ""
        for path in spawn.outputs:
            assert digest(folder / path) == digest(execution_root(example) / path), path
    layers = [spawn for spawn in spawns if spawn.mnemonic == "PyImageLayer"]
    # interpreter, numpy, packages, default
    assert len(layers) == 4 * len(TARGETS)


def test_pack_writes_and_prints_the_same(example, spawns, folder) -> None:
    printed = []
    for name, command in zip(("x86_64", "aarch64"), both(), strict=True):
        (folder / name).mkdir()
        binary = example.folder / "bazel-bin/app/web"
        options = ["--root=/app", "--layer-group=numpy=pip_deps_numpy.*", "--compress=zstd", "--json", "--report"]
        printed.append(run([*command, "pack", "--binary", binary, "--out", "layers", *options], cwd=folder / name))
    assert printed[1] == printed[0]
    assert digests(folder / "aarch64" / "layers") == digests(folder / "x86_64" / "layers")


@pytest.mark.parametrize("target, options", [(TARGETS[0], ["--json"]), (TARGETS[1], [])], ids=["json", "text"])
def test_inspect_prints_the_same(target, options, example, spawns) -> None:
    x86_64, aarch64 = (run([*command, "inspect", *options, *example.files(target)]) for command in both())
    assert aarch64 == x86_64 and len(x86_64) > 1000


def test_differences_are_the_same(example, spawns) -> None:
    old, new = (example.folder / "bazel-bin" / "app" / f"{name}.contents.json" for name in ("layers_zstd", "layers"))
    x86_64, aarch64 = (run([*command, "diff", "--format=json", old, new]) for command in both())
    assert aarch64 == x86_64 and len(x86_64) > 1000


def test_reports_are_the_same(example, spawns, layer_folders) -> None:
    layers = example.files(TARGETS[0])
    for command, folder in zip(both(), layer_folders, strict=True):
        page = folder / "page.html"
        assert run([*command, "report", "--out=page.html", *layers], cwd=folder).strip() == page.as_uri()
    x86_64, aarch64 = (digests(folder) for folder in layer_folders)
    assert aarch64 == x86_64


def execution_root(workspace: Workspace) -> Path:
    """The folder to which the paths of actions are relative."""
    return (workspace.folder / "bazel-out").resolve().parent


def digest(path: Path) -> str:
    return sha256(path.read_bytes())


def digests(folder: Path) -> dict[str, str]:
    """Digests of the files in a folder."""
    return {path.name: digest(path) for path in folder.iterdir()}
