"""The virtual environment for IDEs."""

import os
import runpy
import subprocess
from pathlib import Path

import pytest
from conftest import INTERPRETER, PROGRAMS, VERSION, Runfiles, ask_python

MAIN = "rules_pylayer/bazel/private/python/make_venv.py"


class Application:
    """A binary with wheels in an external repository, as in Bazel's output base."""

    def __init__(self, runfiles: Runfiles, external: Path):
        self.runfiles = runfiles
        self.workspace = runfiles.workspace
        self.external = external
        runfiles.first_party("_main", "_main/src", "")
        runfiles.file("src/lib/first.py", "WHERE = __file__\n")
        self.wheel("regular", "regular/__init__.py", "regular/sub/data.txt", "regular.libs/libx.so")
        self.wheel("regular", "regular-1.0.dist-info/METADATA", "regular-1.0.dist-info/entry_points.txt")
        self.wheel("one", "space/one.py")
        self.wheel("two", "space/two.py")
        self.wheel("single", "single.py", "single.pth")
        self.write("regular/regular/__init__.py", "import sys\ndef main():\n    print('regular', sys.argv[1:])\n")
        self.write("regular/regular-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: regular\nVersion: 1.0\n")
        entry_points = "[console_scripts]\nregular = regular:main\nwith-extra = regular:main [extra]\n[other]\nx = y:z\n"
        self.write("regular/regular-1.0.dist-info/entry_points.txt", entry_points)
        self.write("single/single.pth", "import single\n")
        for entry in ("regular/regular", "regular/regular.libs", "regular/regular-1.0.dist-info"):
            self.link(entry)
        (runfiles.site_packages / "space").mkdir()
        self.link("one/space/one.py", "space/one.py")
        self.link("two/space/two.py", "space/two.py")
        self.link("single/single.py")
        self.link("single/single.pth")

    def wheel(self, repository: str, *files: str) -> None:
        for file in files:
            self.write(f"{repository}/{file}", "")
            self.runfiles.link(f"{repository}/{file}", self.external / repository / file)

    def write(self, file: str, text: str) -> None:
        (self.external / file).parent.mkdir(parents=True, exist_ok=True)
        (self.external / file).write_text(text)

    def link(self, runfile: str, entry: str = "") -> None:
        """A relative link in site-packages, as the rule declares it."""
        path = self.runfiles.site_packages / (entry or Path(runfile).name)
        path.symlink_to(os.path.relpath(self.runfiles.root / runfile, path.parent))

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "BUILD_WORKSPACE_DIRECTORY": str(self.workspace),
            "BUILD_WORKING_DIRECTORY": str(self.workspace / "src"),
            **environ,
        }
        return self.runfiles.run(MAIN, *arguments, **environ)

    def python(self, code: str) -> str:
        """Runs code in the environment that was made, and returns its output."""
        command = [self.workspace / ".pkg+app.venv" / "bin" / "python", "-c", code]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd="/").stdout.strip()


@pytest.fixture
def application(runfiles, tmp_path) -> Application:
    return Application(runfiles, tmp_path / "external")


def test_the_environment_works_without_the_runfiles(application):
    result = application.make()
    assert result.returncode == 0, result.stdout
    venv = application.workspace / ".pkg+app.venv"
    assert result.stdout == f"Made {venv}\nIts interpreter is {venv}/bin/python\n"
    application.runfiles.root.rename(application.runfiles.root.parent / "gone")
    assert application.python("import sys; print(sys.prefix)") == str(venv)
    assert application.python("import sys; print(sys.base_prefix)") == ask_python("sys.base_prefix")
    assert application.python("import regular, single, space.one, space.two; print(single.__file__)") == str(
        venv / "lib" / f"python{VERSION}" / "site-packages" / "single.py"
    )
    assert application.python("import importlib.metadata as m; print(m.version('regular'))") == "1.0"
    source = application.workspace / "src" / "lib" / "first.py"
    assert application.python("import lib.first; print(lib.first.WHERE)") == str(source)


def test_links_lead_out_of_the_runfiles(application):
    application.make()
    venv = application.workspace / ".pkg+app.venv"
    site_packages = venv / "lib" / f"python{VERSION}" / "site-packages"
    assert os.readlink(venv / "bin" / "python3") == f"python{VERSION}"
    assert os.readlink(venv / "bin" / f"python{VERSION}") == str(INTERPRETER)
    links = {str(p.relative_to(site_packages)): os.readlink(p) for p in site_packages.rglob("*") if p.is_symlink()}
    assert links == {
        "regular": f"{application.external}/regular/regular",
        "regular.libs": f"{application.external}/regular/regular.libs",
        "regular-1.0.dist-info": f"{application.external}/regular/regular-1.0.dist-info",
        "single.py": f"{application.external}/single/single.py",
        "single.pth": f"{application.external}/single/single.pth",
        "space/one.py": f"{application.external}/one/space/one.py",
        "space/two.py": f"{application.external}/two/space/two.py",
    }


def test_a_directory_that_cannot_be_made_is_one_line(application, tmp_path):
    (tmp_path / "file").touch()
    result = application.make(f"{tmp_path}/file/venv")
    assert result.returncode == 1
    assert result.stdout.startswith(f"Cannot make {tmp_path}/file/venv: [Errno ")
    assert result.stdout.count("\n") == 1


def test_reserved_names_are_those_of_the_rules():
    # The file of the rules is also one in Python.
    rules = runpy.run_path(str(PROGRAMS / "reserved.bzl"))
    program = runpy.run_path(str(PROGRAMS / "make_venv.py"))
    assert [program["FIRST_PARTY_PTH"], *program["COVERAGE_FILES"]] == rules["RESERVED_NAMES"]


def test_generated_sources_are_found(application, tmp_path):
    binaries = tmp_path / "bin"
    runfiles = binaries / "pkg" / "app.venv.runfiles"
    runfiles.parent.mkdir(parents=True)
    application.runfiles.root.rename(runfiles)
    application.runfiles.root = runfiles
    application.runfiles.venv = runfiles / application.runfiles.VENV
    generated = binaries / "src" / "lib" / "generated.py"
    generated.parent.mkdir(parents=True)
    generated.write_text("x = 1\n")
    result = application.make()
    assert result.returncode == 0, result.stdout
    assert application.python("import lib.generated, lib.first; print(lib.generated.__file__)") == str(generated)
    venv = application.workspace / ".pkg+app.venv"
    lines = (venv / "lib" / f"python{VERSION}" / "site-packages" / "_first_party.pth").read_text().splitlines()
    workspace = application.workspace
    assert lines == [str(p) for p in (workspace, binaries, workspace / "src", binaries / "src", runfiles)]


def test_code_in_pth_files_has_absolute_paths(application):
    line = "import os, site; site.addsitedir(os.path.join(sitedir, '../../../../../../tree'), known_paths)\n"
    (application.runfiles.site_packages / "_first_party.pth").write_text(line)
    application.wheel("tree", "in_tree.py")
    result = application.make()
    assert result.returncode == 0, result.stdout
    assert application.python("import in_tree; print(in_tree.__file__)") == f"{application.external}/tree/in_tree.py"


def test_console_scripts_run(application):
    application.make()
    bin = application.workspace / ".pkg+app.venv" / "bin"
    for script in ("regular", "with-extra"):
        output = subprocess.run([bin / script, "a b"], check=True, text=True, stdout=subprocess.PIPE).stdout
        assert output == "regular ['a b']\n"
    output = subprocess.run(
        ["bash", "-c", f"source {bin}/activate; python -c 'import sys; print(sys.prefix)'"],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout
    assert output == f"{bin.parent}\n"


def test_a_second_run_updates(application):
    application.make()
    (application.runfiles.site_packages / "single.py").unlink()
    application.link("two/space/two.py", "added.py")
    assert application.make().returncode == 0
    assert application.python("import added; print(added.__name__)") == "added"
    assert not [p.name for p in application.workspace.iterdir() if ".new-" in p.name or ".old-" in p.name]
    assert not (application.workspace / ".pkg+app.venv/lib" / f"python{VERSION}/site-packages/single.py").exists()


def test_the_directory_can_be_named(application):
    # Relative to the directory in which bazel was started.
    assert application.make("my/venv").returncode == 0
    assert (application.workspace / "src" / "my" / "venv" / "bin" / "python").exists()
    assert application.make("--help").stdout == "usage: bazel run TARGET [-- DIRECTORY]\n"
    assert application.make(BUILD_WORKSPACE_DIRECTORY="").stdout == "Start this program with `bazel run`.\n"


def test_other_directories_are_not_replaced(application, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    result = application.make(str(tmp_path / "mine"))
    assert result.returncode == 1
    assert result.stdout == (
        f"{tmp_path}/mine exists, and was not made by this program. Remove it, or name another directory.\n"
    )
    assert os.listdir(tmp_path / "mine") == ["pyvenv.cfg"]


def test_a_failure_leaves_the_environment_as_it_was(application):
    application.make()
    (application.runfiles.site_packages / "_first_party.pth").write_bytes(b"\xff\n")
    assert application.make().returncode == 1
    assert application.python("import single; print(1)") == "1"
    assert [p.name for p in application.workspace.iterdir() if p.name.startswith(".pkg")] == [".pkg+app.venv"]
