"""Analysis, build and size of many images with the same packages, with and without a shared runfiles directory."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bazel import Workspace, copy_workspace

from pylayer_bench.bench import Bench
from pylayer_bench.console import say
from pylayer_bench.parts.python_analysis import build_seconds, load, used_heap
from pylayer_bench.parts.scaling import write_many_small
from pylayer_bench.paths import REPOSITORY
from pylayer_bench.python_workspace import build_launcher
from pylayer_bench.results import Row

PYTHON = "python_3_11_x86_64-unknown-linux-gnu"
# The row names, by the packages in benches/workspace.
ROWS = {
    "images/separate": "a runfiles directory for each image",
    "images/shared": "one for all images",
}
METADATA = (".manifest", ".mtree", ".json")


@dataclass
class Sizes:
    images: int
    wheels: int
    files_of_wheel: int
    files_of_interpreter: int

    @property
    def files(self) -> int:
        """The number of files of an image that it has in common with the others, without the wheels' metadata."""
        return self.wheels * self.files_of_wheel + self.files_of_interpreter


SIZES = Sizes(images=100, wheels=150, files_of_wheel=200, files_of_interpreter=5_000)
QUICK_SIZES = Sizes(images=3, wheels=3, files_of_wheel=10, files_of_interpreter=50)


def measure(bench: Bench) -> dict[str, list[Row]]:
    sizes = QUICK_SIZES if bench.quick else SIZES
    workspace = make_workspace(bench, sizes)
    rows = {
        package: Row(name, f"bazel build //{package}:images", sizes.files, binaries=sizes.images)
        for package, name in ROWS.items()
    }
    try:
        say("  everything is fetched")
        workspace.build("--nobuild", *(f"//{package}:server_0" for package in ROWS))
        for number in range(bench.rounds):
            for package in list(ROWS)[:: -1 if number % 2 else 1]:
                say(f"  {ROWS[package]}")
                build(bench, workspace, package, rows[package])
    finally:
        workspace.shutdown()
    return {"many_images": list(rows.values())}


def make_workspace(bench: Bench, sizes: Sizes) -> Workspace:
    """Creates the workspace, and repositories of an interpreter and of wheels."""
    scratch = bench.folder("many_images")
    # For copy_workspace.
    os.environ["PYLAYER_BIN"] = str(bench.program)
    os.environ["PYLAYER_LAUNCHER"] = str(scratch / "launcher")
    build_launcher(scratch / "launcher")
    folder = copy_workspace(REPOSITORY / "benches/workspace", scratch / "workspace")
    repositories = scratch / "repositories"
    standard_library = repositories / PYTHON / "lib/python3.11"
    # The same files for each wheel are written only once.
    write_many_small(standard_library, sizes.files_of_interpreter - 1)
    (standard_library / "os.py").touch()
    write_many_small(scratch / "wheel", sizes.files_of_wheel)
    for number in range(sizes.wheels):
        write_wheel(repositories / f"pip_deps_wheel_{number}/site-packages", f"wheel_{number}", scratch / "wheel")
    paths = {path.name: str(path) for path in sorted(repositories.iterdir())}
    (folder / "repositories.json").write_text(json.dumps(paths))
    (folder / "images/count.bzl").write_text(f'"""The number of images."""\n\nIMAGES = {sizes.images}\n')
    for package in ROWS:
        for number in range(sizes.images):
            (folder / package / f"main_{number}.py").write_text(f"NUMBER = {number}\n")
    return Workspace(folder, scratch / "output")


def write_wheel(site_packages: Path, name: str, content: Path) -> None:
    shutil.copytree(content, site_packages / name)
    metadata = site_packages / f"{name}-1.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def build(bench: Bench, workspace: Workspace, package: str, row: Row) -> None:
    """One round: analyzes and builds all images in a new server and with a new worker."""
    target = f"//{package}:images"
    workspace.run("clean")
    workspace.shutdown()
    before = used_heap(workspace)
    load(workspace, target)
    row.wall.append(build_seconds(bench, workspace, "--nobuild", target))
    row.build.append(build_seconds(bench, workspace, target))
    row.heap.append(used_heap(workspace) - before)
    outputs = list((workspace.folder / "bazel-bin" / package).iterdir())
    row.metadata = sum(path.stat().st_size for path in outputs if path.suffix in METADATA)
    layers = [json.loads(path.read_text()) for path in outputs if path.name.endswith(".descriptor.json")]
    row.size = sum(layer["size"] for layer in layers)
    row.distinct = sum({layer["digest"]: layer["size"] for layer in layers}.values())
