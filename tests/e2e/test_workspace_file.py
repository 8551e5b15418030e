"""A workspace with a `WORKSPACE` file and no `MODULE.bazel`."""

import pytest

from conftest import WORKSPACES


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """A small workspace, built."""
    made = make_workspace(WORKSPACES / "workspace_file", "workspace_file", options=["--config=workspace"])
    made.build("//app:layers")
    return made


def test_it_builds_layers_by_workers(workspace) -> None:
    for file in workspace.files("//app:layers"):
        file.unlink(missing_ok=True)
    spawns = [spawn for spawn in workspace.spawns("//app:layers") if spawn.mnemonic == "PyImageLayer"]
    assert {spawn.runner for spawn in spawns} == {"worker"}


def test_a_file_of_another_repository_is_there_once_at_its_own_place(workspace) -> None:
    paths = [path for layer in workspace.layers("//app:layers").values() for path in layer.paths]
    runfiles = "app/app/tool.runfiles"
    assert [path for path in paths if path.endswith("/six.py")] == [f"{runfiles}/pip_deps_six/site-packages/six.py"]
    assert f"{runfiles}/tools/app/tool.py" in paths


def test_a_repository_of_a_wheel_is_in_the_layer_of_packages(workspace) -> None:
    (six,) = [path for path in workspace.layers("//app:layers")["packages"].paths if path.endswith("/six.py")]
    assert six
