"""Layer groups that no file belongs to."""

import pytest

from conftest import WORKSPACES
from layers import Layer

TARGETS = [f"//app:not_in_the_tree_{compress}" for compress in ("none", "gzip", "zstd")]

# The end of a tar, and the whole of an empty one.
NOTHING = bytes(1024)


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """The workspace `empty_groups`, everything built."""
    workspace = make_workspace(WORKSPACES / "empty_groups", "empty_groups")
    workspace.build("//...")
    return workspace


def test_a_group_without_files_has_no_layer_if_their_paths_are_known_before(workspace) -> None:
    assert list(workspace.layers("//app:no_such_repository")) == ["default"]
    # Its target is there all the same, since nobody knows when BUILD files are read.
    assert workspace.files("//app:no_such_repository_torch") == []
    workspace.build("//app:no_such_repository_torch")
    actions = workspace.run("aquery", "mnemonic('^PyImageLayer$', //app:no_such_repository)").output
    assert actions.count("Mnemonic: PyImageLayer") == 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_group_that_turns_out_empty_is_an_empty_tar(target, workspace) -> None:
    layers = workspace.layers(target)
    # A tree may have a site-packages directory, but is no interpreter's repository.
    assert list(layers) == ["onnx", "packages", "default"]
    assert [layer.tar == NOTHING for layer in layers.values()] == [True, True, False]
    assert any(path.endswith("/model/weights.txt") for path in layers["default"].paths)


@pytest.mark.parametrize("strategy", ["worker", "linux-sandbox", "local"])
def test_a_warning_names_the_group_and_pattern_that_turned_out_empty(strategy, workspace) -> None:
    target = "//app:not_in_the_tree_none"
    for file in workspace.files(target):
        file.unlink(missing_ok=True)
    log = workspace.build(f"--strategy=PyImageLayer={strategy}", target).log
    # Nobody has asked for the default groups.
    assert [line for line in log.splitlines() if line.startswith("pylayer: ")] == [
        r'pylayer: layer "onnx" is empty: no file left by earlier groups matches its pattern /model/.*\.onnx$'
    ]


def test_a_file_that_comes_into_the_group_is_in_its_layer(workspace) -> None:
    build_file = workspace.folder / "app" / "BUILD.bazel"
    text = build_file.read_text()
    target = "//app:not_in_the_tree_gzip"
    build_file.write_text(text.replace('["weights.txt"]', '["weights.txt", "weights.onnx"]'))
    try:
        workspace.build(target)
        (layer,) = workspace.files(f"{target}_onnx")
        (path,) = Layer(layer).paths
        assert path.endswith("/model/weights.onnx")
    finally:
        build_file.write_text(text)
        workspace.build("//...")
