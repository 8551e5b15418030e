"""The files that GitHub and the registry read."""

import shutil
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
GITHUB = CHECKOUT / ".github"
REGISTRY = CHECKOUT / ".bcr"


@pytest.fixture
def github(tmp_path: Path) -> Path:
    """A copy of `.github`, for changes."""
    return Path(shutil.copytree(GITHUB, tmp_path / ".github"))
