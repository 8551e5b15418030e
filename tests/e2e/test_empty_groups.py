"""Layer groups without files."""

import pytest

from conftest import WORKSPACES
from layers import Layer

TARGETS = [f"//app:not_in_the_tree_{compress}" for compress in ("none", "gzip", "zstd")]


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """The workspace `empty_groups`, built."""
    workspace = make_workspace(WORKSPACES / "empty_groups", "empty_groups")
    workspace.build("//...")
    return workspace


def test_a_group_without_files_has_no_layer_if_all_paths_are_known(workspace) -> None:
    assert list(workspace.layers("//app:no_such_repository")) == ["default"]
    for group in "descriptors", "listings":
        (file,) = workspace.files("//app:no_such_repository", f"--output_groups={group}")
        assert file.name.startswith("no_such_repository_default.")


def test_the_label_of_a_group_without_files_is_an_empty_layer(workspace) -> None:
    # When BUILD files are loaded, it is not known that there are no files, and rules require a file per label.
    (file,) = workspace.files("//app:no_such_repository_torch")
    file.unlink()
    log = workspace.build("//app:no_such_repository_torch").log
    assert [(entry.path, entry.type) for entry in Layer(file).entries] == [("app", "directory")]
    # The rule has detected that the layer is empty, so the program does not warn.
    assert "pylayer: " not in log


@pytest.mark.parametrize(
    "image, groups",
    [
        ("image_of_labels", ["interpreter", "torch", "packages", "default"]),
        ("image_of_all", ["default"]),
        ("image_of_one", ["torch"]),
    ],
)
def test_rules_that_require_a_file_per_label_accept_the_layers(image, groups, workspace) -> None:
    names = [file.name for file in workspace.files(f"//app:{image}")]
    assert names == [f"no_such_repository_{group}.tar" for group in groups]
    assert all(Layer(file).path.exists() for file in workspace.files(f"//app:{image}"))


def test_a_layer_that_is_not_requested_is_not_written(workspace) -> None:
    for file in workspace.files("//app:image_of_labels"):
        file.unlink()
    spawns = workspace.spawns("//app:no_such_repository")
    assert [spawn.mnemonic for spawn in spawns] == ["PyImageLayer"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_group_that_turns_out_empty_is_a_layer_of_the_root_alone(target, workspace) -> None:
    layers = workspace.layers(target)
    # A tree may contain a site-packages directory, but is not an interpreter's repository.
    assert list(layers) == ["onnx", "packages", "default"]
    for layer in "onnx", "packages":
        assert [(entry.path, entry.type) for entry in layers[layer].entries] == [("app", "directory")]
    assert any(path.endswith("/model/weights.txt") for path in layers["default"].paths)


@pytest.mark.parametrize("strategy", ["worker", "linux-sandbox", "local"])
def test_a_warning_names_the_group_and_pattern_that_turned_out_empty(strategy, workspace) -> None:
    target = "//app:not_in_the_tree_none"
    for file in workspace.files(target):
        file.unlink(missing_ok=True)
    log = workspace.build(f"--strategy=PyImageLayer={strategy}", target).log
    # The user has not requested the default groups.
    assert [line for line in log.splitlines() if line.startswith("pylayer: ")] == [
        r'pylayer: layer "onnx" is empty: no file left by earlier groups matches its pattern "/model/.*\.onnx$"'
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
