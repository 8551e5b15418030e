"""Layers that can be pulled in part: ordinary readers, and the attribute. tests/program/lazy checks what is in them."""

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from bazel import TIMEOUT
from conftest import WORKSPACES, BuiltWorkspace
from containers import Buildah, umoci_unpack
from layers import Layer, sha256
from oci import write_image

TABLE = "stargz.index.json"
LANDMARK = ".no.prefetch.landmark"


@pytest.fixture(scope="module")
def workspace(make_workspace) -> BuiltWorkspace:
    workspace = make_workspace(WORKSPACES / "wheels", "lazy")
    workspace.build("//:lazy", "//:chunked", "//:given", "--output_groups=+descriptors")
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


def contents(layer: Layer) -> dict[str, str]:
    """The digests of the files, without those that belong to the format."""
    files = {entry.path.removeprefix("./"): entry.sha256 for entry in layer.entries if entry.type == "file"}
    return {path: digest for path, digest in files.items() if path not in (TABLE, LANDMARK)}


@pytest.mark.parametrize("target", ["//:lazy", "//:chunked"])
def test_python_tar_and_bsdtar_read_the_layers(target, workspace) -> None:
    for layer, other in zip(workspace.layers(target).values(), workspace.layers("//:given").values(), strict=True):
        assert contents(layer) == contents(other)
        names = {
            command[0]: subprocess.check_output([*command, "-tf", layer.path], text=True, timeout=TIMEOUT)
            for command in (["tar"], ["bsdtar"])
        }
        assert names["tar"] == names["bsdtar"]
        assert {name.removeprefix("./") for name in names["tar"].splitlines()} >= contents(layer).keys()


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("target", ["//:lazy", "//:chunked"])
def test_container_tools_unpack_the_layers(target, workspace, folder) -> None:
    image = write_image(folder / "image", list(workspace.layers(target).values()))
    # umoci takes no zstd.
    if target == "//:lazy":
        check_root(umoci_unpack(image, folder / "bundle"), workspace)
    buildah = Buildah(folder / "buildah")
    container = buildah.container(image)
    mounted = subprocess.check_output(buildah.command("mount", container), text=True, timeout=TIMEOUT).strip()
    check_root(Path(mounted), workspace)
    skopeo = ["skopeo", "copy", "--insecure-policy", "--quiet", f"oci:{image}", f"docker-archive:{folder}/archive.tar"]
    if target == "//:lazy":
        # It decompresses the layers, and checks their diff IDs.
        subprocess.run(skopeo, check=True, timeout=TIMEOUT)


def check_root(root: Path, workspace: BuiltWorkspace) -> None:
    for layer in workspace.layers("//:given").values():
        for path, digest in contents(layer).items():
            assert sha256((root / path).read_bytes()) == digest, path


@pytest.mark.parametrize(
    "target, lazy, needed, given", [("lazy", "estargz", "gzip", "zstd"), ("chunked", "zstd:chunked", "zstd", "gzip")]
)
def test_another_codec_is_an_error_at_analysis(target, lazy, needed, given, workspace) -> None:
    build_file = workspace.folder / "BUILD.bazel"
    text = build_file.read_text()
    start, name, rest = text.partition(f'name = "{target}",\n')
    rest = rest.replace('    compress = "zstd",\n', "", 1) if needed == "zstd" else f'    compress = "zstd",\n{rest}'
    build_file.write_text(start + name + rest)
    try:
        result = workspace.build(f"//:{target}", check=False)
    finally:
        build_file.write_text(text)
    assert result.status != 0
    assert f'lazy is "{lazy}", which requires compress = "{needed}", not "{given}"' in result.log
