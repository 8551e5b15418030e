"""The lint of Starlark files against Bazel 9."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LINT = CHECKOUT / "tests" / "lint_bazel_9.py"


def lint(folder: Path, name: str, text: str) -> list[str]:
    """The findings in a file, without its path."""
    file = folder / name
    file.write_text(text)
    process = subprocess.run([sys.executable, LINT, file], cwd=CHECKOUT, capture_output=True, text=True)
    assert process.stderr == ""
    assert process.returncode == bool(process.stdout)
    return [line.removeprefix(f"{file}:") for line in process.stdout.splitlines()]


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        ("BUILD.bazel", 'py_library(name = "x")\n', "1: py_library is not a global name of Bazel 9: load it"),
        ("BUILD", '\nsh_binary(name = "x")\n', "2: sh_binary is not a global name of Bazel 9: load it"),
        ("x.bzl", "_INFO = PyInfo\n", "1: PyInfo is not a global name of Bazel 9: load it"),
        ("x.bzl", "def x():\n    native.cc_library()\n", "2: native.cc_library is not in Bazel 9: load it"),
        ("x.bzl", "def x(y):\n    return y.workspace_name\n", "2: workspace_name is deprecated or gone: use repo_name"),
        ("x.bzl", "x = rule(print, outputs = {})\n", "1: rule(outputs) is deprecated: use attr.output"),
        ("x.bzl", 'x = attr.label(cfg = "host")\n', '1: cfg = "host" is gone: use "exec"'),
        ("MODULE.bazel", 'workspace(name = "x")\n', "1: workspace is not a global name of Bazel 9: load it"),
    ],
)
def test_what_bazel_9_lacks_is_found(name: str, text: str, finding: str, tmp_path: Path) -> None:
    assert lint(tmp_path, name, text) == [finding]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BUILD.bazel", 'load("@rules_python//python:defs.bzl", "py_library")\n\npy_library(name = "x")\n'),
        ("x.bzl", 'load("x", _x = "PyInfo")\n\nPyInfo = _x\n'),
        ("x.bzl", "def x(ctx, *args):\n    return ctx.workspace_name, args\n"),
        ("x.bzl", "def x():\n    native.filegroup(**{name: name for name in native.glob([])})\n"),
        ("WORKSPACE", 'workspace(name = "x")\n'),
    ],
)
def test_what_bazel_9_has_is_accepted(name: str, text: str, tmp_path: Path) -> None:
    assert lint(tmp_path, name, text) == []
