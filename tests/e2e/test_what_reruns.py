"""Which actions rerun after a change, according to the execution log."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bazel import Spawn, Workspace, program
from layers import sha256
from remote import layer_spawns, server, write_again
from scratch import remove

TARGETS = ["//app:layers", "//app:layers_zstd"]

# The layers that are rewritten when a file of the application changes.
APPLICATION = {"layers_default.tar.gz", "layers_zstd_default.tar.zst"}
ALL = {f"layers_{name}.tar.gz" for name in ("interpreter", "numpy", "packages", "default")} | {
    f"layers_zstd_{name}.tar.zst" for name in ("interpreter", "numpy", "packages", "default")
}


@pytest.fixture(scope="module")
def changing(example, scratch) -> Iterator[Workspace]:
    """The example with two more data files, for these tests to change. Restored afterwards."""
    kept = scratch / "what_reruns"
    for name in "app", "lib":
        shutil.copytree(example.folder / name, kept / name)
    for name in "removed.txt", "renamed.txt":
        data(example, name).write_text(f"{name}\n")
    yield example
    for name in "app", "lib":
        shutil.rmtree(example.folder / name)
        shutil.move(kept / name, example.folder / name)
    example.build("//app:all")


@pytest.fixture
def workspace(changing) -> Workspace:
    """The same, up to date whatever an earlier test has changed."""
    changing.build(*TARGETS)
    return changing


def data(workspace: Workspace, name: str) -> Path:
    """A data file of the binary, matched by a `glob`."""
    return workspace.folder / "app" / "data" / name


def edit(path: Path, old: str, new: str) -> None:
    """Replaces the only occurrence of `old`."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def runners(spawns: list[Spawn]) -> dict[str, str]:
    """The runner of each layer, by the layer's name. Apart from these, only validation may have run."""
    assert {spawn.mnemonic for spawn in spawns} <= {"PyImageLayer", "PyImageLayerValidation"}
    return {
        Path(path).name: spawn.runner for spawn in layer_spawns(spawns) for path in spawn.outputs if ".tar" in path
    }


def validations(spawns: list[Spawn]) -> int:
    """The number of targets that were validated again."""
    return sum(spawn.mnemonic == "PyImageLayerValidation" for spawn in spawns)


def edit_a_source(workspace: Workspace) -> None:
    source = workspace.folder / "lib" / "storage" / "storage.py"
    source.write_text(source.read_text() + "# edited\n")


def add_a_file(workspace: Workspace) -> None:
    data(workspace, "added.txt").write_text("added\n")


def remove_a_file(workspace: Workspace) -> None:
    data(workspace, "removed.txt").unlink()


def rename_a_file(workspace: Workspace) -> None:
    data(workspace, "renamed.txt").rename(data(workspace, "other name.txt"))


def add_a_module(workspace: Workspace) -> None:
    (workspace.folder / "app" / "extra.py").write_text('"""Does nothing."""\n')
    edit(workspace.folder / "app" / "BUILD.bazel", 'srcs = ["report.py"],', 'srcs = ["report.py", "extra.py"],')


@pytest.mark.parametrize("change", [edit_a_source, add_a_file, remove_a_file, rename_a_file, add_a_module])
def test_a_change_of_a_first_party_file_writes_one_layer(change, workspace) -> None:
    change(workspace)
    spawns = workspace.spawns("//app:layers")
    assert runners(spawns) == {"layers_default.tar.gz": "worker"}
    assert validations(spawns) == 1
    assert runners(workspace.spawns(*TARGETS)) == {"layers_zstd_default.tar.zst": "worker"}


@pytest.mark.parametrize("wheel, layer", [("numpy", "numpy"), ("orjson", "packages")])
def test_another_version_of_a_wheel_writes_its_layer(wheel, layer, workspace, folder) -> None:
    (repository,) = (workspace.folder / "bazel-out").resolve().parents[2].glob(f"external/*[~+]pip_deps_{wheel}")
    newer = folder / wheel
    shutil.copytree(repository, newer, symlinks=True)
    (newer / "REPO.bazel").touch()
    (metadata,) = newer.glob("site-packages/*.dist-info/METADATA")
    metadata.write_text(metadata.read_text() + "A newer one.\n")
    (newer / "site-packages" / wheel / "added_in_the_newer_one.py").write_text("VALUE = 1\n")
    override = f"--override_repository={repository.name}={newer}"
    spawns = workspace.spawns(override, "//app:layers")
    assert runners(spawns) == {f"layers_{layer}.tar.gz": "worker"}
    assert validations(spawns) == 1


def test_another_compression_of_one_target_writes_its_layers_only(workspace) -> None:
    build_file = workspace.folder / "app" / "BUILD.bazel"
    edit(
        build_file,
        'name = "layers_zstd",\n',
        'name = "layers_zstd",\n    tar_args = ["--options", "zstd:compression-level=1"],',
    )
    written = runners(workspace.spawns(*TARGETS))
    assert written == {name: "worker" for name in ALL if name.endswith(".zst")}


def test_resources_of_a_small_machine_are_enough(workspace) -> None:
    edit_a_source(workspace)
    spawns = workspace.spawns("--local_resources=cpu=1", "--local_resources=memory=100", "//app:layers")
    assert runners(spawns) == {"layers_default.tar.gz": "worker"}


# --- fresh output base, warm cache --------------------------------------------------------------


@pytest.fixture(scope="module")
def caches(changing, scratch) -> Iterator[dict[str, str]]:
    """Options for caches that contain everything the workspace builds, by the runner that a hit reports."""
    with server(scratch / "remote_cache") as address:
        options = {
            "disk cache hit": f"--disk_cache={scratch / 'disk_cache'}",
            "remote cache hit": f"--remote_cache={address}",
        }
        write_again(changing, TARGETS, *options.values())
        yield options


@pytest.fixture(scope="module")
def fresh(changing, scratch) -> Iterator[Workspace]:
    """The same workspace with an empty output base, so all repositories are fetched again."""
    fresh = Workspace(changing.folder, scratch / "fresh", options=["--symlink_prefix=/"])
    yield fresh
    fresh.shutdown()
    remove(scratch / "fresh")


@pytest.mark.parametrize("hit", ["disk cache hit", "remote cache hit"])
def test_with_a_fresh_output_base_and_a_warm_cache_an_added_file_costs_one_layer(hit, caches, fresh) -> None:
    data(fresh, f"added for a {hit}.txt").write_text(f"{hit}\n")
    # Keep only the repositories in the output base of an earlier test.
    fresh.run("clean", "--symlink_prefix=/")
    spawns = fresh.spawns(caches[hit], *TARGETS)
    # Not in the caches, which were filled while it was up to date.
    spawns = [spawn for spawn in spawns if spawn.mnemonic != "PyLauncher"]
    assert runners(spawns) == {name: "worker" if name in APPLICATION else hit for name in ALL}
    assert validations(spawns) == len(TARGETS)
    digest = sha256(program().read_bytes()).removeprefix("sha256:")
    assert {spawn.inputs[spawn.command[0]] for spawn in layer_spawns(spawns)} == {digest}
