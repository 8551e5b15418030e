"""Paths in this repository and on this machine."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs/dev/benchmarks/results.json"
MARKDOWN = REPOSITORY / "BENCHMARKS.md"
CHARTS = RESULTS.parent


def cache_folder() -> Path:
    """${XDG_CACHE_HOME:-~/.cache}/pylayer. A relative path is ignored, as the XDG specification requires."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "pylayer"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
