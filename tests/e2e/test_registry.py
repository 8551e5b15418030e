"""What pushes to a registry send, if images share layers."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import WORKSPACES, BuiltWorkspace
from oci import write_image
from registry import PROGRAM, registry

# Room for the requests' headers.
OVERHEAD = 10_000


@pytest.fixture(scope="module")
def shared(make_workspace) -> BuiltWorkspace:
    """The workspace with images that share a runfiles directory, of which two are built."""
    workspace = make_workspace(WORKSPACES / "shared", "shared_registry")
    workspace.build("//many:native_0_layers", "//many:native_1_layers")
    return workspace


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")
def test_a_push_of_another_image_sends_only_what_differs(shared, folder) -> None:
    first, second = (list(shared.layers(f"//many:native_{number}_layers").values()) for number in (0, 1))
    images = [write_image(folder / name, layers) for name, layers in [("first", first), ("second", second)]]
    (folder / "registry").mkdir()
    with registry(folder / "registry") as server:
        server.push(images[0], "first:latest")
        assert server.uploaded("first") == {*(layer.digest for layer in first), config(folder / "first")["digest"]}
        sent = server.push(images[1], "second:latest")
        [default] = [layer for layer in second if layer.path.name.startswith("native_1_layers_default.")]
        assert server.uploaded("second") == {default.digest, config(folder / "second")["digest"]}
    new = len(default.blob) + config(folder / "second")["size"] + len(manifest(folder / "second"))
    assert new < sent < new + OVERHEAD


def manifest(image: Path) -> bytes:
    """The manifest of an image layout."""
    return blob(image, json.loads((image / "index.json").read_text())["manifests"][0])


def config(image: Path) -> dict:
    """The descriptor of an image's config."""
    return json.loads(manifest(image))["config"]


def blob(image: Path, descriptor: dict) -> bytes:
    return (image / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
