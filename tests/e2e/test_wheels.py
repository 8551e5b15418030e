"""Layers that are lifted from wheels: which wheels are inputs of which layer, and what the layers contain."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from bazel import TIMEOUT, Spawn, downloaded_wheels, program
from conftest import WORKSPACES, BuiltWorkspace
from layers import sha256
from remote import ALL_REMOTE, layer_spawns, server, write_again

TARGETS = ["//:layers", "//:given", "//:zstd", "//:best"]


@pytest.fixture(scope="module")
def workspace(make_workspace) -> BuiltWorkspace:
    return make_workspace(WORKSPACES / "wheels", "wheels")


@pytest.fixture(scope="module")
def spawns(workspace) -> list[Spawn]:
    """The actions that write all layers."""
    return layer_spawns(workspace.spawns(*TARGETS))


def wheels(spawns: list[Spawn], target: str) -> dict[str, list[str]]:
    """The distributions whose wheels are inputs of a target's layers, by the layer's name."""
    found = {}
    for spawn in spawns:
        (layer,) = (Path(path).name for path in spawn.outputs if ".tar" in path)
        if layer.startswith(f"{target}_"):
            inputs = [Path(path).name for path in spawn.inputs if path.endswith(".whl")]
            found[layer.removeprefix(f"{target}_").partition(".")[0]] = sorted(name.partition("-")[0] for name in inputs)
    return found


def test_wheels_of_rules_that_have_them_are_found(spawns) -> None:
    # The wheel in the runfiles, and that of which a tree artifact was made.
    expected = {"other": [], "trees": ["unused"], "packages": ["found"], "default": []}
    assert wheels(spawns, "layers") == expected


def test_a_layer_depends_on_the_wheels_of_its_distributions(spawns) -> None:
    expected = {"other": ["other"], "trees": ["unused"], "packages": ["found", "given"], "default": []}
    assert wheels(spawns, "given") == expected


@pytest.mark.parametrize("target", ["zstd", "best"])
def test_layers_that_are_not_lifted_depend_on_no_wheels(target, spawns) -> None:
    assert not any(wheels(spawns, target).values())


def stream(workspace: BuiltWorkspace, name: str) -> bytes:
    """The compressed form of the large file in a wheel."""
    (file,) = (workspace.folder / "bazel-out").resolve().parents[2].glob(f"external/*pip_deps_{name}/*.whl")
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo(f"{name}/core.so")
        with file.open("rb") as raw:
            raw.seek(info.header_offset + 30 + len(info.filename))
            return raw.read(info.compress_size)


def test_layers_contain_what_the_wheels_contain(workspace, spawns) -> None:
    found = {
        (target, layer): [name for name in ("given", "other", "found", "unused", "patched") if stream(workspace, name) in layers.blob]
        for target in ("layers", "given", "best")
        for layer, layers in workspace.layers(f"//:{target}").items()
    }
    assert {key: names for key, names in found.items() if names} == {
        ("layers", "packages"): ["found"],
        ("layers", "trees"): ["unused"],
        ("given", "packages"): ["given", "found"],
        ("given", "other"): ["other"],
        ("given", "trees"): ["unused"],
    }


def test_layers_are_the_same_tars(workspace, spawns) -> None:
    tars = [
        {layer: sha256(layers.tar) for layer, layers in workspace.layers(target).items()} for target in TARGETS
    ]
    assert all(tar == tars[0] for tar in tars)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--worker_sandboxing"], id="sandboxed worker"),
        pytest.param(["--strategy=PyImageLayer=linux-sandbox"], id="linux-sandbox"),
        pytest.param(["--strategy=PyImageLayer=local"], id="local"),
    ],
)
def test_layers_are_the_same_with_every_strategy(options, workspace, spawns) -> None:
    before = {file: sha256(file.read_bytes()) for file in workspace.files("//:given")}
    assert len(write_again(workspace, ["//:given"], *options)) == len(before)
    assert {file: sha256(file.read_bytes()) for file in workspace.files("//:given")} == before


def test_layers_are_the_same_remotely(workspace, spawns, scratch) -> None:
    before = {file: sha256(file.read_bytes()) for file in workspace.files("//:given")}
    with server(scratch / "remote_execution_of_wheels") as address:
        # The wheels come from repository rules and actions that need Python.
        local = ["--strategy=Action=local"]
        again = write_again(workspace, ["//:given"], f"--remote_executor={address}", *ALL_REMOTE, *local)
    assert {spawn.runner for spawn in again} == {"remote"}
    assert {file: sha256(file.read_bytes()) for file in workspace.files("//:given")} == before


def test_pack_writes_the_same_layers(workspace, spawns, folder) -> None:
    workspace.build("//:app")
    command = [
        *[program(), "pack", "--binary", workspace.folder / "bazel-bin/app", "--out", folder],
        *["--layer-group=trees=/_main/tree", "--layer-group=other=pip_deps_other/"],
        *(f"--wheel={wheel}" for wheel in downloaded_wheels(workspace)),
    ]
    subprocess.run(command, check=True, env={**os.environ}, timeout=TIMEOUT, stdout=subprocess.DEVNULL)
    packed = {file.name.partition(".")[0]: sha256(file.read_bytes()) for file in folder.iterdir()}
    assert packed == {layer: layers.digest for layer, layers in workspace.layers("//:given").items()}


def test_a_file_that_is_no_wheel_is_reported(workspace, spawns) -> None:
    result = workspace.build("//:no_wheel")
    assert "given-1.0-py3-none-any.whl is not a wheel: " in result.log
    assert "its files are compressed instead of lifted from it" in result.log
    tars = {layer: sha256(layers.tar) for layer, layers in workspace.layers("//:no_wheel").items()}
    assert tars == {layer: sha256(layers.tar) for layer, layers in workspace.layers("//:layers").items()}


def test_another_kind_of_file_is_an_error_at_analysis(workspace) -> None:
    build_file = workspace.folder / "BUILD.bazel"
    text = build_file.read_text()
    build_file.write_text(text.replace('wheels = ["given-1.0-py3-none-any.whl"]', 'wheels = ["binary.bzl"]'))
    result = workspace.build("//:no_wheel", check=False)
    build_file.write_text(text)
    assert result.status != 0
    assert "wheels" in result.log and ".whl" in result.log
