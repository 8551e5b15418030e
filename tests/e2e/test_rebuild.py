"""Incremental builds do only the necessary work."""

from pathlib import Path

import pytest

from bazel import Workspace


@pytest.fixture
def built(example):
    """The example, up to date. Restores its sources afterwards."""
    example.build("//app:layers")
    sources = example.folder / "app" / "main.py", example.folder / "lib" / "storage" / "storage.py"
    contents = [source.read_bytes() for source in sources]
    yield example
    for source, content in zip(sources, contents, strict=True):
        source.write_bytes(content)
    example.build("//app:layers")


def test_nothing_runs_when_nothing_has_changed(built) -> None:
    assert built.spawns("//app:layers") == []
    assert built.build("//app:layers").processes == {"internal": 1}


def test_nothing_runs_when_a_source_has_only_a_new_time(built) -> None:
    (built.folder / "app" / "main.py").touch()
    assert built.spawns("//app:layers") == []


@pytest.mark.parametrize("source", ["app/main.py", "lib/storage/storage.py"])
def test_an_edited_source_writes_only_its_own_layer(source, built) -> None:
    file = built.folder / source
    file.write_bytes(file.read_bytes() + b"# edited\n")
    assert written_layers(built) == ["layers_default.tar.gz"]


def test_a_new_data_file_writes_only_its_own_layer(built) -> None:
    file = built.folder / "app" / "data" / "new.txt"
    file.write_text("new\n")
    try:
        assert written_layers(built) == ["layers_default.tar.gz"]
    finally:
        file.unlink()


def written_layers(workspace: Workspace) -> list[str]:
    """Builds, and returns the names of the layers written. Apart from these, only their validation may run."""
    spawns = workspace.spawns("//app:layers")
    assert {spawn.mnemonic for spawn in spawns} <= {"PyImageLayer", "PyImageLayerValidation"}
    layers = [spawn for spawn in spawns if spawn.mnemonic == "PyImageLayer"]
    assert all(spawn.runner == "worker" for spawn in layers)
    return [Path(output).name for spawn in layers for output in spawn.outputs if ".tar" in output]
