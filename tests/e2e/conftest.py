"""Shared fixtures: built copies of the example and of the small workspaces."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bazel import CHECKOUT, TIMEOUT, Spawn, Workspace, copy_workspace
from layers import Layer
from machine import base_layer
from scratch import folder, remove, scratch  # two fixtures, and a function
from service import constant_part

WORKSPACES = Path(__file__).parent / "workspaces"
# Their tests run in Bazel.
collect_ignore = [str(WORKSPACES)]
EXAMPLE = CHECKOUT / "examples" / "web_service"
# The test files that take longest. Started last, one of them would keep one processor busy while the others are idle.
LONGEST = ["test_release.py", "test_large_layers.py", "test_next_bazel.py", "test_first_command.py"]
# The option with which Bazel also builds the report about an image.
REPORT = "--output_groups=+report"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the longest test files to the front. The others keep their order, because sorting is stable."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@dataclass
class BuiltWorkspace(Workspace):
    """A workspace and the layers that it has built."""

    read: dict[str, dict[str, Layer]] = field(default_factory=dict)

    def layers(self, target: str) -> dict[str, Layer]:
        """The layers of a `py_image_layer` target by group, in image order. Cached."""
        if target not in self.read:
            prefix = target.rpartition(":")[2] + "_"
            self.read[target] = {
                file.name.removeprefix(prefix).partition(".tar")[0]: Layer(file) for file in self.files(target)
            }
        return self.read[target]


MakeWorkspace = Callable[..., BuiltWorkspace]


@contextmanager
def workspaces(scratch: Path) -> Iterator[MakeWorkspace]:
    """A function that copies a workspace of this checkout. At the end, the copies are removed."""
    made = []

    def make(source: Path, name: str, **options) -> BuiltWorkspace:
        folder = copy_workspace(source, scratch / "workspaces" / name)
        made.append(BuiltWorkspace(folder, scratch / "bazel", **options))
        return made[-1]

    yield make
    for workspace in made:
        workspace.shutdown()
        remove(workspace.output_base)
        remove(workspace.folder)


@pytest.fixture(scope="session")
def make_shared_workspace(scratch: Path) -> Iterator[MakeWorkspace]:
    """A function that copies a workspace of this checkout, for the tests of several files."""
    with workspaces(scratch) as make:
        yield make


@pytest.fixture(scope="module")
def make_workspace(scratch: Path) -> Iterator[MakeWorkspace]:
    """A function that copies a workspace of this checkout, for the tests of one file. All together are too large."""
    with workspaces(scratch) as make:
        yield make


@pytest.fixture(scope="session")
def example(make_shared_workspace) -> BuiltWorkspace:
    """A copy of the example, built with the default strategy."""
    workspace = make_shared_workspace(EXAMPLE, "web_service")
    workspace.build("//app:all")
    return workspace


@pytest.fixture(scope="session")
def base(example, scratch) -> Layer:
    """A layer with everything that the image needs from a system: a libc, and other shared libraries."""
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    for layer in example.layers("//app:layers_tar").values():
        subprocess.run(["tar", "-xf", layer.path, "-C", unpacked], check=True)
    layer = Layer(base_layer(unpacked, scratch / "base.tar"))
    shutil.rmtree(unpacked)
    return layer


@pytest.fixture(scope="session")
def expected(example) -> dict:
    """The report of the service outside an image, without the parts that depend on its path."""
    output = subprocess.check_output([example.folder / "bazel-bin/app/web", "--self-check"], timeout=TIMEOUT)
    return constant_part(json.loads(output))


@dataclass
class ReportBuilds:
    """A copy of the example, built without and then with the report about its image."""

    workspace: BuiltWorkspace
    spawns_without: list[Spawn]
    digests_without: dict[str, str]
    spawns_with: list[Spawn]


@pytest.fixture(scope="session")
def report_builds(make_shared_workspace) -> ReportBuilds:
    workspace = make_shared_workspace(EXAMPLE, "report")
    without = workspace.spawns("//app:layers")
    digests = {name: layer.digest for name, layer in workspace.layers("//app:layers").items()}
    return ReportBuilds(workspace, without, digests, workspace.spawns("//app:layers", REPORT))


@pytest.fixture(scope="session")
def reported(report_builds) -> BuiltWorkspace:
    """A copy of the example with the report about its image, built."""
    return report_builds.workspace


@pytest.fixture(scope="session")
def options(make_shared_workspace) -> BuiltWorkspace:
    """The small workspace with a `py_image_layer` for every option, built."""
    workspace = make_shared_workspace(WORKSPACES / "options", "options")
    workspace.build("//...")
    return workspace


@pytest.fixture(scope="session")
def runfiles(make_shared_workspace) -> BuiltWorkspace:
    """The small workspace with runfiles as Python rules create them, built."""
    workspace = make_shared_workspace(WORKSPACES / "runfiles", "runfiles")
    workspace.build("//...")
    return workspace


@pytest.fixture
def as_root() -> None:
    """Skips a test that requires root: other users, mounts, container storage."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
