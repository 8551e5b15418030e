"""The example's layers form an image: container tools accept them, and the service starts."""

import json
import subprocess
from pathlib import PurePosixPath

import pytest

from bazel import TIMEOUT, downloaded_wheels, program
from containers import Buildah, umoci_unpack
from layers import Layer
from machine import MERGED, in_root
from oci import write_image
from service import check_report, free_port, get, running

pytestmark = pytest.mark.usefixtures("as_root")

# py_image_layer target → the service's path in the image.
ROOTS = {
    "//app:layers": "/app/app/web",
    "//app:layers_zstd": "/app/app/web",
    "//app:layers_tar": "/app/app/web",
    "//app:layers_srv": "/srv/app/web",
}

def image_config(example, target: str) -> dict:
    """The configuration of an image with the layers, for a user that has no name."""
    (file,) = example.files(f"{target}.config")
    config = json.loads(file.read_text())
    return {
        "Entrypoint": config["entrypoint"],
        "Cmd": config["cmd"],
        "Env": [f"{name}={value}" for name, value in config["env"].items()],
        "WorkingDir": config["working_dir"],
        "User": "12345",
    }


@pytest.mark.parametrize("target", ["//app:layers", "//app:layers_zstd", "//app:layers_tar"])
def test_buildah_takes_the_layers_and_runs_the_entrypoint(target, example, base, expected, folder) -> None:
    service, port, log = ROOTS[target], free_port(), folder / "log"
    config = image_config(example, target)
    image = write_image(folder / "image", [base, *example.layers(target).values()], config)
    buildah = Buildah(folder / "buildah")
    command = [
        *["run", "--isolation=chroot", f"--env=PORT={port}", buildah.container(image)],
        *["--", *config["Entrypoint"], *config["Cmd"]],
    ]
    with running(buildah.command(*command), log) as process:
        check_report(get("report", port, process, log), expected, service)


@pytest.mark.parametrize("target", ["//app:layers", "//app:layers_srv"])
def test_umoci_takes_the_layers_and_the_service_needs_only_libraries(target, example, base, expected, folder) -> None:
    service, port, log = ROOTS[target], free_port(), folder / "log"
    image = write_image(folder / "image", [base, *example.layers(target).values()])
    root = umoci_unpack(image, folder / "bundle")
    for name in MERGED:
        assert (root / name).is_symlink(), f"a layer has buried /{name}"
    assert list((root / "usr" / "bin").iterdir()) == []
    root_folder = PurePosixPath(service).parts[1]
    assert sorted(path.name for path in root.iterdir()) == sorted([root_folder, "usr", *MERGED])
    with running(in_root(root, [service], {"PORT": str(port)}), log) as process:
        check_report(get("report", port, process, log), expected, service)


@pytest.mark.parametrize("target", ROOTS)
def test_descriptors_say_what_the_layers_are(target, example) -> None:
    example.build(target, "--output_groups=+descriptors")
    layers = example.layers(target).values()
    descriptors = example.files(target, "--output_groups=descriptors")
    assert [json.loads(file.read_text()) for file in descriptors] == [descriptor(layer) for layer in layers]


def test_pack_prints_the_same_descriptors(example, folder) -> None:
    command = [
        *[program(), "pack", "--json", "--binary", example.folder / "bazel-bin/app/web", "--out", folder],
        *["--root=/app", "--layer-group=numpy=pip_deps_numpy.*"],
        *[f"--wheel={wheel}" for wheel in downloaded_wheels(example)],
    ]
    printed = json.loads(subprocess.check_output(command, timeout=TIMEOUT))
    layers = example.layers("//app:layers")
    assert [row["layer"] for row in printed] == list(layers)
    for row, layer in zip(printed, layers.values(), strict=True):
        assert {key: row[key] for key in descriptor(layer)} == descriptor(layer)
        assert row["path"] == str(folder / f"{row['layer']}.tar.gz")
        assert row["files"] == len(layer.paths)
        assert row["bytes"] == len(layer.tar)


def descriptor(layer: Layer) -> dict:
    """The OCI descriptor of a layer file, and its diff ID."""
    return {
        "mediaType": layer.media_type,
        "digest": layer.digest,
        "size": len(layer.blob),
        "diff_id": layer.diff_id,
    }
