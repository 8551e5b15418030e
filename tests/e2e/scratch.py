"""Fixtures: folders for workspaces and outputs."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for workspaces and outputs. Not in /tmp, which Bazel's sandbox hides."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parent = Path(os.environ.get("PYLAYER_E2E_DIR") or cache_home / "pylayer" / "e2e")
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    yield folder
    remove(folder)


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    """An empty folder for one test. pytest would keep its own for several runs, and an image takes a gigabyte."""
    path = Path(tempfile.mkdtemp(dir=scratch))
    yield path
    remove(path)


def remove(folder: Path) -> None:
    """Removes a folder, even if parts of it are read-only, as Bazel's are."""
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)
