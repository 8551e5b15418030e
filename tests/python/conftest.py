"""Runfiles trees as the rules lay them out, and processes that start in them.

The programs under test run with the interpreter of these tests, or with PYLAYER_TEST_PYTHON: the `bin/python` of a
virtual environment that has pytest and coverage.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest

PROGRAMS = Path(__file__).parents[2] / "bazel" / "private" / "python"
PYTHON = os.environ.get("PYLAYER_TEST_PYTHON") or sys.executable
# A program that hangs should fail its test.
TIMEOUT = 60


def ask_python(expression: str) -> str:
    code = f"import sys, sysconfig; print({expression})"
    return subprocess.run([PYTHON, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


INTERPRETER = Path(PYTHON).resolve()
PACKAGES = Path(ask_python("sysconfig.get_path('purelib')"))
VERSION = ask_python("'%d.%d' % sys.version_info[:2]")


class Runfiles:
    """The runfiles of `//pkg:app`, with a virtual environment, and the workspace that its links lead to."""

    VENV = "_main/pkg/_app.venv"

    def __init__(self, directory: Path):
        self.workspace = directory / "workspace"
        self.outputs = directory / "outputs"
        self.outputs.mkdir()
        # As long as Bazel's.
        self.root = directory / ("execroot-" + "x" * 60) / "app.runfiles"
        self.tmpdir = self.root.parent / "_tmp"
        self.tmpdir.mkdir(parents=True)
        self.venv = self.root / self.VENV
        self.site_packages = self.venv / "lib" / f"python{VERSION}" / "site-packages"
        self.site_packages.mkdir(parents=True)
        (self.venv / "bin").mkdir()
        (self.venv / "pyvenv.cfg").write_text("home =\ninclude-system-site-packages = false\n")
        (self.venv / "bin" / "python3").symlink_to(INTERPRETER)
        self.first_party("_main")
        for program in PROGRAMS.glob("*.py"):
            self.link(f"rules_pylayer/bazel/private/python/{program.name}", program)

    def link(self, runfile: str, target: Path) -> None:
        path = self.root / runfile
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def file(self, path: str, text: str = "") -> Path:
        """A source file of the workspace, with its link in the runfiles. Returns the runfile."""
        source = self.workspace / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(textwrap.dedent(text))
        self.link(f"_main/{path}", source)
        return self.root / "_main" / path

    def first_party(self, *roots: str) -> None:
        lines = [os.path.relpath(self.root / root, self.site_packages) + "\n" for root in roots]
        (self.site_packages / "_first_party.pth").write_text("".join(lines))

    def packages(self, *names: str) -> None:
        """Links to installed packages, with their metadata."""
        for name in names:
            # tomli has parts that mypyc compiled.
            for pattern in (name, f"{name}.py", f"{name}-*.dist-info", "*__mypyc*.so"):
                for entry in PACKAGES.glob(pattern):
                    if not (self.site_packages / entry.name).exists():
                        (self.site_packages / entry.name).symlink_to(entry)

    def pytest(self) -> None:
        self.packages(
            "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli",
            "typing_extensions", "py", "attr", "attrs",
        )  # fmt: skip

    def run(self, main: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Starts a main file of the tree as the launcher does."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/nowhere",
            "RUNFILES_DIR": str(self.root),
            "TEST_WORKSPACE": "_main",
            "TEST_TARGET": "//pkg:app",
            "TEST_TMPDIR": str(self.tmpdir),
            **environ,
        }
        command = [self.venv / "bin" / "python3", "-B", "-I", self.root / main, *arguments]
        return subprocess.run(
            command,
            env=environment,
            cwd=self.root / "_main",
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )

    def test(self, *arguments: str, runner: str, sources: list[str], options: list[str] = [], **environ: str):
        """Runs a `py_test` with these sources."""
        settings = {"runner": runner, "sources": [f"_main/{s}" for s in sources], "arguments": options}
        (self.venv / "test.json").write_text(json.dumps(settings))
        return self.run("rules_pylayer/bazel/private/python/test_main.py", *arguments, **environ)


def outcomes(xml: Path) -> dict[str, str]:
    """The outcome of each test in an XML file, by "class.name"."""
    found = {}
    for case in ElementTree.parse(xml).iter("testcase"):
        assert float(case.get("time")) >= 0
        children = [child.tag for child in case]
        found[f"{case.get('classname')}.{case.get('name')}"] = children[0] if children else "passed"
    return found


@pytest.fixture
def runfiles(tmp_path: Path) -> Runfiles:
    return Runfiles(tmp_path)
