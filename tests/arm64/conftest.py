"""Shared fixtures: what is packed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bazel import CHECKOUT, Workspace, copy_workspace
from corpus import Corpus
from scratch import folder, scratch  # fixtures

EXAMPLE = CHECKOUT / "examples" / "web_service"


@pytest.fixture(scope="session")
def corpora(scratch) -> dict[str, Corpus]:
    """The corpora by name."""
    return {
        "small": Corpus(scratch / "small", copies=1, largest=1 << 20),
        "large": Corpus(scratch / "large", copies=8, largest=8 << 20),
    }


@pytest.fixture(scope="session")
def example(scratch) -> Iterator[Workspace]:
    """A copy of the example, for builds with the program for x86_64."""
    workspace = Workspace(copy_workspace(EXAMPLE, scratch / "web_service"), scratch / "bazel")
    yield workspace
    workspace.shutdown()


@pytest.fixture
def layer_folders(folder) -> list[Path]:
    """Empty folders for the outputs of both programs."""
    folders = [folder / "x86_64", folder / "aarch64"]
    for path in folders:
        path.mkdir()
    return folders
