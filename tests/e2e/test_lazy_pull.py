"""Images that are pulled in part, by the programs that do so, and what they fetch from a registry."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bazel import CHECKOUT, TIMEOUT, program
from layers import Layer
from machine import in_root
from oci import write_image
from registry import PROGRAM, Registry, registry
from service import check_report, free_port, get, running

pytestmark = [
    pytest.mark.usefixtures("as_root"),
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed"),
]

SERVICE = "/app/app/web"
# Containers-storage fetches files only if it is asked to.
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
[storage.options]
pull_options = {{enable_partial_images = "true"}}
"""


@pytest.fixture
def server(folder) -> Iterator[Registry]:
    (folder / "registry").mkdir()
    with registry(folder / "registry") as server:
        yield server


@pytest.fixture
def base_folder(base, folder) -> Path:
    """The unpacked base image."""
    (folder / "base").mkdir()
    subprocess.run(["tar", "-xf", base.path, "-C", folder / "base"], check=True)
    return folder / "base"


@contextmanager
def overlay(layers: Sequence[Path], folder: Path) -> Iterator[Path]:
    """Mounts the folders of an image, the base first, as its root."""
    options = [f"lowerdir={':'.join(map(str, reversed(layers)))}"]
    # As a container has. Without, the root has the mode of a FUSE mount that nobody has looked at: 0.
    for option in ["upperdir", "workdir"]:
        own = folder.with_name(f"{folder.name}_{option}")
        own.mkdir()
        options.append(f"{option}={own}")
    folder.mkdir()
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", ",".join(options), folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def mounted(image: str, folder: Path) -> Iterator[list[Path]]:
    """Mounts the layers of an image in a registry with stargz-snapshotter."""
    command = [CHECKOUT / "tools/stargz", image, folder]
    with (folder.parent / "stargz.log").open("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            count = process.stdout.readline()
            log.seek(0)
            assert count, log.read()
            yield [folder / str(number) for number in range(int(count))]
        finally:
            process.stdin.close()
            process.wait(TIMEOUT)


def self_check(root: Path, expected: dict) -> None:
    """Starts the service in an image, without a network."""
    output = subprocess.check_output(in_root(root, [SERVICE, "--self-check"]), timeout=TIMEOUT)
    check_report(json.loads(output), expected, SERVICE)


@dataclass
class Start:
    """What the service's start has fetched from the registry."""

    received: int
    gets: int
    # Bytes of all layers.
    size: int


def start_from_mounted_layers(server: Registry, packed: Sequence[dict], base_folder: Path, folder: Path) -> Start:
    """Starts the service in an image with the layers in what `pylayer pack --json` has printed."""
    layers = [Layer(Path(row["path"])) for row in packed]
    annotations = [row["annotations"] for row in packed]
    folder.mkdir()
    server.push(write_image(folder / "image", layers, annotations=annotations), f"{folder.name}:latest")
    received, gets = server.proxy.received, server.proxy.gets
    with (
        mounted(f"{server.address}/{folder.name}:latest", folder / "layers") as folders,
        overlay([base_folder, *folders], folder / "root") as root,
    ):
        port = free_port()
        with running(in_root(root, [SERVICE], {"PORT": str(port)}), folder / "log") as process:
            assert get("health", port, process, folder / "log") == {"status": "ok"}
    size = sum(len(layer.blob) for layer in layers)
    start = Start(server.proxy.received - received, server.proxy.gets - gets, size)
    print(f"{folder.name}: {start}")
    return start


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="there is no FUSE")
def test_the_service_starts_from_mounted_layers(example, base_folder, server, folder) -> None:
    def packed(name: str, *options: str) -> list[dict]:
        command = [program(), "pack", "--json", "--binary", example.folder / "bazel-bin/app/web", "--out", folder / name]
        command += ["--root=/app", "--lazy=estargz", *options]
        return json.loads(subprocess.check_output(command, timeout=TIMEOUT))

    example.build("//app:web")
    ordinary = start_from_mounted_layers(server, packed("layers"), base_folder, folder / "ordinary")
    # The service imports all packages, most of which are compiled code.
    assert ordinary.received < 0.75 * ordinary.size
    prefetch = f"--prefetch={example.folder}/app/imports.txt"
    listed = start_from_mounted_layers(server, packed("listed_layers", prefetch), base_folder, folder / "listed")
    assert listed.received < 1.02 * ordinary.received
    assert listed.gets < ordinary.gets / 2


def packed(example, folder: Path, name: str, *options: str) -> tuple[str, Layer]:
    """An image of one layer, and its layer."""
    command = [
        *[program(), "pack", "--json", "--binary", example.folder / "bazel-bin/app/web", "--out", folder / name],
        *["--root=/app", "--layer-group=all=.", "--lazy=zstd:chunked", "--compress=zstd", *options],
    ]
    [row] = [row for row in json.loads(subprocess.check_output(command, timeout=TIMEOUT)) if row["layer"] == "all"]
    layer = Layer(folder / name / "all.tar.zst")
    return write_image(folder / f"{name}_image", [layer], annotations=[row["annotations"]]), layer


def test_an_update_fetches_only_new_files(example, base_folder, expected, server, folder) -> None:
    example.build("//app:web")
    without, old = packed(example, folder, "old", "--exclude=/orjson/", "--validation=off")
    with_it, new = packed(example, folder, "new")
    server.push(without, "old:latest")
    server.push(with_it, "new:latest")
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf")}
    skopeo = [CHECKOUT / "tools/skopeo", "--insecure-policy", "copy", "--quiet"]
    received = {}
    for name in ["old", "new"]:
        before = server.proxy.received
        command = ["--src-tls-verify=false", f"docker://{server.address}/{name}:latest", f"containers-storage:{name}:latest"]
        subprocess.run([*skopeo, *command], check=True, env=environment, timeout=TIMEOUT)
        received[name] = server.proxy.received - before
    print(f"{received} of {len(old.blob)} and {len(new.blob)} bytes")
    assert received["new"] < len(new.blob) / 10 < received["old"]
    # The storage's own table of layers says which folder has which.
    rows = json.loads((folder / "graph/overlay-layers/layers.json").read_text())
    [identifier] = [row["id"] for row in rows if row["diff-digest"] == new.diff_id]
    with overlay([base_folder, folder / "graph/overlay" / identifier / "diff"], folder / "root") as root:
        self_check(root, expected)
    # What is exported again is the same tar.
    command = [*skopeo, "--dest-decompress", "containers-storage:new:latest", f"dir:{folder}/exported"]
    subprocess.run(command, check=True, env=environment, timeout=TIMEOUT)
    assert (folder / "exported" / new.diff_id.removeprefix("sha256:")).read_bytes() == new.tar
