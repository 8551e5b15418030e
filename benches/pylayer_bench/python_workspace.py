"""A copy of benches/python_workspace, for the parts about Python binaries."""

import os
import subprocess
from pathlib import Path

from bazel import Workspace, copy_workspace

from pylayer_bench.bench import Bench
from pylayer_bench.paths import REPOSITORY

RULES_PYTHON = "rules_python 0.22.1"


def build_launcher(output: Path, *options: str) -> None:
    subprocess.run([REPOSITORY / "crates/launcher/build", *options, output], check=True)


def make_workspace(bench: Bench, name: str, sizes: dict[str, int]) -> Workspace:
    """Creates a workspace with these constants in sizes.bzl, and its own Bazel server."""
    scratch = bench.folder(name)
    # For copy_workspace.
    os.environ["PYLAYER_BIN"] = str(bench.program)
    os.environ["PYLAYER_LAUNCHER"] = str(scratch / "launcher")
    build_launcher(scratch / "launcher")
    folder = copy_workspace(REPOSITORY / "benches/python_workspace", scratch / "workspace")
    text = "".join(f"{constant} = {value}\n" for constant, value in sizes.items())
    (folder / "sizes.bzl").write_text(f'"""Sizes of the benchmarks."""\n\n{text}')
    return Workspace(folder, scratch / "output")
