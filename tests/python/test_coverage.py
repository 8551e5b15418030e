"""Coverage of Python processes under `bazel coverage`."""

import os
from collections import Counter
from pathlib import Path

import pytest
from conftest import PROGRAMS, Runfiles, ask_python

PYTHON_COVERAGE = tuple(map(int, ask_python("__import__('coverage').__version__").split(".")[:2]))

LIBRARY = """\
def called(x):
    if x:
        return 1
    return 2
def not_called():
    return 3
"""


@pytest.fixture
def runfiles(runfiles: Runfiles) -> Runfiles:
    runfiles.packages("coverage", "tomli")
    runfiles.file("pkg/lib.py", LIBRARY)
    runfiles.file("pkg/never_imported.py", "x = 1\n")
    enable_coverage(runfiles)
    return runfiles


def enable_coverage(runfiles: Runfiles, tool: str | None = None) -> None:
    (runfiles.site_packages / "_pylayer_coverage.py").symlink_to(PROGRAMS / "_pylayer_coverage.py")
    line = f"import _pylayer_coverage; _pylayer_coverage.start({runfiles.VENV!r}, {tool!r})\n"
    (runfiles.site_packages / "_pylayer_coverage.pth").write_text(line)


def environment(runfiles: Runfiles, *instrumented: str) -> dict[str, str]:
    """What collect_coverage.sh sets."""
    manifest = runfiles.outputs / "manifest"
    manifest.write_text("".join(path + "\n" for path in instrumented or ["pkg/lib.py"]))
    return {
        "COVERAGE": "1",
        "COVERAGE_DIR": str(runfiles.outputs / "coverage"),
        "COVERAGE_MANIFEST": str(manifest),
        "ROOT": str(runfiles.root.parent),
    }


def hits(runfiles: Runfiles) -> dict[str, dict[int, int]]:
    """The hits of each line by file, over all reports."""
    found: dict[str, Counter] = {}
    directory = runfiles.outputs / "coverage"
    for report in directory.iterdir():
        assert report.suffix == ".dat"
        for line in report.read_text().splitlines():
            if line.startswith("SF:"):
                counts = found.setdefault(line[len("SF:") :], Counter())
            elif line.startswith("DA:"):
                number, count = line[len("DA:") :].split(",")[:2]
                counts[int(number)] += int(count)
    return {path: dict(counts) for path, counts in found.items()}


def test_lines_of_the_manifest_are_counted(runfiles):
    runfiles.file("pkg/not_listed.py", "x = 1\n")
    runfiles.file("pkg/main.py", "import pkg.lib, pkg.not_listed\npkg.lib.called(True)\nprint(__name__)\n")
    environ = environment(runfiles, "pkg/lib.py", "pkg/never_imported.py", "pkg/x.h")
    result = runfiles.run("_main/pkg/main.py", **environ)
    assert result.stdout == "__main__\n"
    assert hits(runfiles) == {
        "pkg/lib.py": {1: 1, 2: 1, 3: 1, 4: 0, 5: 1, 6: 0},
        "pkg/never_imported.py": {1: 0},
    }


def test_branches_and_functions_are_counted(runfiles):
    runfiles.file("pkg/main.py", "import pkg.lib\npkg.lib.called(True)\n")
    runfiles.run("_main/pkg/main.py", **environment(runfiles))
    (report,) = (runfiles.outputs / "coverage").iterdir()
    lines = report.read_text().splitlines()
    # Of the line that branches, or with older coverage, of the lines that it branches to.
    taken = {line.rpartition(",")[2] for line in lines if line.startswith("BRDA:")}
    assert "1" in taken and taken & {"0", "-"}
    assert "FN:1,called" in lines or PYTHON_COVERAGE < (7, 7)


def test_paths_are_those_of_the_manifest(runfiles, tmp_path):
    runfiles.first_party("_main", "other+")
    generated = tmp_path / "bazel-out" / "k8-fastbuild" / "bin" / "pkg" / "generated.py"
    generated.parent.mkdir(parents=True)
    generated.write_text("x = 1\n")
    runfiles.link("_main/pkg/generated.py", generated)
    external = tmp_path / "external" / "other+" / "other.py"
    external.parent.mkdir(parents=True)
    external.write_text("x = 1\n")
    runfiles.link("other+/other.py", external)
    # A remote executor may provide files instead of links.
    (runfiles.root / "_main/pkg/copied.py").write_text("x = 1\n")
    runfiles.file("pkg/main.py", "import other, pkg.generated, pkg.copied\n")
    paths = ["bazel-out/k8-fastbuild/bin/pkg/generated.py", "external/other+/other.py", "pkg/copied.py"]
    runfiles.run("_main/pkg/main.py", **environment(runfiles, *paths))
    assert hits(runfiles) == {path: {1: 1} for path in paths}


CHILDREN = {
    "subprocess": """
import subprocess, sys
subprocess.check_call([sys.executable, "-c", "import pkg.lib; pkg.lib.called(0)"])
""",
    "terminated": """
import subprocess, sys
code = "import pkg.lib, time; pkg.lib.called(0); print(); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
child.terminate()
assert child.wait() == -15
""",
    "fork": """
import os, pkg.lib
pid = os.fork()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
else:
    pkg.lib.called(0)
""",
    **{
        f"{kind}-{method}": f"""
import multiprocessing, pkg.lib
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    {use}
"""
        for method in ("fork", "spawn", "forkserver")
        for kind, use in {
            "process": "child = context.Process(target=pkg.lib.called, args=(0,)); child.start(); child.join()",
            "pool": "\n    with context.Pool(1) as pool:\n        pool.map(pkg.lib.called, [0])",
        }.items()
    },
}


@pytest.mark.parametrize("code", CHILDREN.values(), ids=list(CHILDREN))
def test_children_are_counted(runfiles, code):
    runfiles.file("pkg/main.py", code)
    result = runfiles.run("_main/pkg/main.py", **environment(runfiles))
    assert result.returncode == 0, result.stdout
    assert result.stdout == ""
    assert hits(runfiles)["pkg/lib.py"][4] == 1


@pytest.mark.parametrize("runner", ["pytest", "unittest"])
def test_tests_are_counted(runfiles, runner):
    runfiles.pytest()
    runfiles.file(
        "pkg/lib_test.py",
        "import unittest\nimport pkg.lib\nclass LibTest(unittest.TestCase):\n    def test(self): pkg.lib.called(1)\n",
    )
    environ = environment(runfiles, "pkg/lib.py", "pkg/lib_test.py")
    result = runfiles.test(runner=runner, sources=["pkg/lib_test.py"], **environ)
    assert result.returncode == 0, result.stdout
    assert hits(runfiles)["pkg/lib.py"][3] == 1
    assert hits(runfiles)["pkg/lib_test.py"][4] == 1


def test_workers_of_pytest_are_counted(runfiles):
    runfiles.pytest()
    runfiles.packages("xdist", "pytest_xdist", "execnet")
    if not (runfiles.site_packages / "xdist").exists():
        pytest.skip("PYLAYER_TEST_PYTHON has no pytest-xdist")
    runfiles.file("pkg/lib_test.py", "import pkg.lib\ndef test(): pkg.lib.called(1)\n")
    result = runfiles.test("-n1", runner="pytest", sources=["pkg/lib_test.py"], **environment(runfiles))
    assert result.returncode == 0, result.stdout
    assert hits(runfiles)["pkg/lib.py"][3] == 1


def test_the_coverage_of_the_toolchain_is_used(runfiles):
    package = (runfiles.site_packages / "coverage").resolve()
    (runfiles.site_packages / "coverage").unlink()
    runfiles.link("tool+/coverage", package)
    (runfiles.site_packages / "_pylayer_coverage.py").unlink()
    enable_coverage(runfiles, "tool+")
    runfiles.file("pkg/main.py", "import pkg.lib\n")
    result = runfiles.run("_main/pkg/main.py", **environment(runfiles))
    assert result.stdout == ""
    assert hits(runfiles)["pkg/lib.py"][1] == 1


def test_a_missing_coverage_is_one_warning(runfiles):
    (runfiles.site_packages / "coverage").unlink()
    runfiles.file("pkg/main.py", "import subprocess, sys; subprocess.check_call([sys.executable, '-c', 'print(1)'])\n")
    result = runfiles.run("_main/pkg/main.py", **environment(runfiles))
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == [
        "//pkg:app: no coverage of Python code: No module named 'coverage'. Add coverage to deps, or to the toolchain "
        "with `configure_coverage_tool = True`.",
        "1",
    ]


def test_nothing_is_imported_without_coverage(runfiles):
    runfiles.file("pkg/main.py", "import sys; print('coverage' in sys.modules, sys.path[-1][-5:])\n")
    assert runfiles.run("_main/pkg/main.py").stdout == "False _main\n"
    unlisted = {**environment(runfiles), "COVERAGE_MANIFEST": os.devnull}
    assert runfiles.run("_main/pkg/main.py", **unlisted).returncode == 0
    assert not Path(runfiles.outputs / "coverage").exists()
