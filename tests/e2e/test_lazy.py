"""Layers that can be mounted before they are pulled. tests/program/lazy.rs checks what is in them."""

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from bazel import TIMEOUT, downloaded_wheels, program
from conftest import WORKSPACES, BuiltWorkspace
from containers import Buildah, umoci_unpack
from layers import Layer, sha256
from oci import write_image
from remote import ALL_REMOTE, server, write_again

TABLE = "stargz.index.json"
LANDMARK = ".no.prefetch.landmark"


@pytest.fixture(scope="module")
def workspace(make_workspace) -> BuiltWorkspace:
    workspace = make_workspace(WORKSPACES / "wheels", "lazy")
    workspace.build("//:lazy", "//:given", "//:app", "--output_groups=+descriptors")
    return workspace


def table(layer: Layer) -> bytes:
    """The table of contents, found from the footer."""
    blob = layer.blob
    offset = int(blob[-51:][16:32], 16)
    tar = gzip.decompress(blob[offset:])
    assert tar.startswith(TABLE.encode() + b"\0")
    return tar[512 : 512 + int(tar[124:135], 8)]


def test_descriptors_have_the_digest_of_the_table(workspace) -> None:
    layers = workspace.layers("//:lazy").values()
    descriptors = workspace.files("//:lazy", "--output_groups=descriptors")
    assert len(descriptors) == len(layers)
    for file, layer in zip(descriptors, layers, strict=True):
        annotations = json.loads(file.read_text())["annotations"]
        assert annotations["containerd.io/snapshot/stargz/toc.digest"] == sha256(table(layer))


def test_tables_list_what_other_layers_contain(workspace) -> None:
    for layer, other in zip(workspace.layers("//:lazy").values(), workspace.layers("//:given").values(), strict=True):
        listed = {entry["name"].removeprefix("./").rstrip("/") for entry in json.loads(table(layer))["entries"]}
        assert listed == {*(entry.path.removeprefix("./").rstrip("/") for entry in other.entries), LANDMARK}


@pytest.mark.parametrize("strategy", ["worker", "linux-sandbox", "local"])
def test_layers_are_the_same_with_every_strategy(strategy, workspace) -> None:
    before = {file: sha256(file.read_bytes()) for file in workspace.files("//:lazy")}
    again = write_again(workspace, ["//:lazy"], f"--strategy=PyImageLayer={strategy}")
    assert {spawn.runner for spawn in again} == {strategy}
    assert {file: sha256(file.read_bytes()) for file in workspace.files("//:lazy")} == before


def test_layers_are_the_same_remotely(workspace, scratch) -> None:
    before = {file: sha256(file.read_bytes()) for file in workspace.files("//:lazy")}
    with server(scratch / "remote_execution_of_lazy_layers") as address:
        write_again(workspace, ["//:lazy"], f"--remote_executor={address}", *ALL_REMOTE, "--strategy=Action=local")
    assert {file: sha256(file.read_bytes()) for file in workspace.files("//:lazy")} == before


def test_pack_writes_the_same_layers(workspace, folder) -> None:
    command = [
        *[program(), "pack", "--binary", workspace.folder / "bazel-bin/app", "--out", folder, "--lazy=estargz"],
        *["--layer-group=trees=/_main/tree", "--layer-group=other=pip_deps_other/"],
        *(f"--wheel={wheel}" for wheel in downloaded_wheels(workspace)),
    ]
    subprocess.run(command, check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL)
    packed = {file.name.partition(".")[0]: sha256(file.read_bytes()) for file in folder.iterdir()}
    assert packed == {layer: layers.digest for layer, layers in workspace.layers("//:lazy").items()}


@pytest.mark.usefixtures("as_root")
def test_container_tools_unpack_the_layers(workspace, folder) -> None:
    image = write_image(folder / "image", list(workspace.layers("//:lazy").values()))
    root = umoci_unpack(image, folder / "bundle")
    check_root(root, workspace)
    buildah = Buildah(folder / "buildah")
    container = buildah.container(image)
    mounted = subprocess.check_output(buildah.command("mount", container), text=True, timeout=TIMEOUT).strip()
    check_root(Path(mounted), workspace)


def check_root(root: Path, workspace: BuiltWorkspace) -> None:
    for layer in workspace.layers("//:given").values():
        for entry in layer.entries:
            if entry.type == "file":
                assert sha256((root / entry.path).read_bytes()) == entry.sha256, entry.path


def test_another_codec_is_an_error_at_analysis(workspace) -> None:
    build_file = workspace.folder / "BUILD.bazel"
    text = build_file.read_text()
    build_file.write_text(text.replace('lazy = "estargz",', 'lazy = "estargz",\n    compress = "zstd",'))
    result = workspace.build("//:lazy", check=False)
    build_file.write_text(text)
    assert result.status != 0
    assert 'lazy is "estargz", which requires compress = "gzip", not "zstd"' in result.log
