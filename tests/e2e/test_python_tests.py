"""`py_test`: what Bazel asks of tests, with a main file, unittest and pytest."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bazel import PLAIN_OUTPUT, Result, Workspace
from conftest import WORKSPACES

# A program of the workspace stands for those that merge reports, which Bazel would download.
COVERAGE = [
    "--combined_report=none",
    "--coverage_output_generator=//tests:merger",
    "--coverage_report_generator=//tests:merger",
    "--instrumentation_filter=//tests",
]


@pytest.fixture(scope="module")
def python(make_workspace) -> Workspace:
    """The workspace with tests."""
    return make_workspace(WORKSPACES / "python", "python_tests")


def run_tests(workspace: Workspace, target: str, *options: str, command: str = "test", check: bool = True) -> Result:
    """Runs tests, always anew."""
    return workspace.run(
        command, *PLAIN_OUTPUT, "--nocache_test_results", "--test_output=errors", *options, target, check=check
    )


def logs(workspace: Workspace, name: str) -> Path:
    """The folder with the outputs of a test."""
    return workspace.folder / "bazel-testlogs" / "tests" / name


def test_tests_of_every_kind_pass(python) -> None:
    run_tests(python, "//tests/...")


@pytest.mark.parametrize(
    ("name", "variable"), [("main_test", "EXIT=3"), ("unittest_test", "FAIL=1"), ("pytest_test", "FAIL=1")]
)
def test_a_failing_test_fails(name, variable, python) -> None:
    result = run_tests(python, f"//tests:{name}", f"--test_env={variable}", check=False)
    # 3: tests have failed.
    assert result.status == 3
    if name != "main_test":
        assert "test_can_fail" in result.log + result.output


@pytest.mark.parametrize("name", ["unittest_test", "pytest_test"])
def test_a_filter_selects_by_name(name, python) -> None:
    run_tests(python, f"//tests:{name}", "--test_filter=here")
    cases = ElementTree.parse(logs(python, name) / "test.xml").iter("testcase")
    assert [case.get("name") for case in cases] == ["test_here"]


@pytest.mark.parametrize("name", ["unittest_test", "pytest_test"])
def test_a_filter_that_matches_nothing_fails(name, python) -> None:
    assert run_tests(python, f"//tests:{name}", "--test_filter=nothing_like_this", check=False).status == 3


@pytest.mark.parametrize("name", ["unittest_test", "pytest_test"])
def test_the_report_names_each_test(name, python) -> None:
    run_tests(python, f"//tests:{name}", "--test_env=FAIL=1", check=False)
    cases = {case.get("name"): case for case in ElementTree.parse(logs(python, name) / "test.xml").iter("testcase")}
    assert {"test_here", "test_can_fail"} <= set(cases)
    assert [case for case in cases if cases[case].find("failure") is not None] == ["test_can_fail"]


@pytest.mark.parametrize("shards", [1, 3, 4, 12])
def test_shards_divide_the_tests(shards, python) -> None:
    options = ["--test_sharding_strategy=disabled" if shards == 1 else f"--test_sharding_strategy=forced={shards}"]
    run_tests(python, "//tests:sharded_test", *options, "--nozip_undeclared_test_outputs")
    folder = logs(python, "sharded_test")
    folders = [folder] if shards == 1 else [folder / f"shard_{i + 1}_of_{shards}" for i in range(shards)]
    files = [shard / "test.outputs" / "numbers.txt" for shard in folders]
    numbers = [int(line) for file in files if file.exists() for line in file.read_text().split()]
    assert sorted(numbers) == list(range(10))


def test_a_main_file_in_the_style_of_aspect_rules_py_runs_pytest(python) -> None:
    result = run_tests(python, "//tests:generated_main_test", "--test_output=all")
    # --verbose is an argument of it.
    assert re.search(r"sharded_test\.py::test_number\[9\] PASSED", result.output + result.log)


def report(workspace: Workspace, name: str) -> dict[str, dict[int, int]]:
    """How often each line of each file ran, by a coverage report."""
    files: dict[str, dict[int, int]] = {}
    for line in (logs(workspace, name) / "coverage.dat").read_text().splitlines():
        kind, _, value = line.partition(":")
        if kind == "SF":
            lines = files.setdefault(value, {})
        elif kind == "DA":
            number, count = map(int, value.split(",")[:2])
            lines[number] = lines.get(number, 0) + count
    return files


def line_of(workspace: Workspace, text: str) -> int:
    """The number of a line of the library."""
    lines = (workspace.folder / "tests" / "counted.py").read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if text in line]
    return number


@pytest.mark.parametrize(("name", "in_child"), [("main_test", True), ("pytest_test", False)])
def test_coverage_is_recorded_also_in_subprocesses(name, in_child, python) -> None:
    run_tests(python, f"//tests:{name}", *COVERAGE, command="coverage")
    lines = report(python, name)["tests/counted.py"]
    assert lines[line_of(python, 'return "here"')] > 0
    assert (lines[line_of(python, 'return "in a child"')] > 0) == in_child
    assert lines[line_of(python, 'return "never"')] == 0


def test_without_the_package_there_is_no_coverage_and_a_warning(python) -> None:
    result = run_tests(python, "//tests:without_coverage_test", *COVERAGE, "--test_output=all", command="coverage")
    warning = "//tests:without_coverage_test: no coverage of Python code: No module named 'coverage'. Add coverage to deps"
    assert warning in result.output + result.log


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("pytest_main = True, unittest_main = True", "set pytest_main or unittest_main, not both"),
        ('pytest_main = True, main = "x_test.py"', "remove main: pytest runs the tests"),
        ('runner_args = ["-v"]', "runner_args is for pytest_main or unittest_main; use args"),
    ],
)
def test_attributes_that_contradict_each_other_are_refused(attributes, message, python) -> None:
    folder = python.folder / "wrong"
    folder.mkdir(exist_ok=True)
    (folder / "x_test.py").touch()
    (folder / "BUILD.bazel").write_text(
        'load("@rules_pylayer//bazel:python.bzl", "py_test")\n'
        f'py_test(name = "x_test", srcs = ["x_test.py"], {attributes})\n'
    )
    result = python.build("//wrong:all", check=False)
    assert result.status != 0
    assert f'py_test(name = "x_test"): {message}' in result.log


def test_pytest_that_is_not_a_dependency_is_named(python) -> None:
    folder = python.folder / "without_pytest"
    folder.mkdir()
    (folder / "x_test.py").write_text("def test():\n    pass\n")
    (folder / "BUILD.bazel").write_text(
        'load("@rules_pylayer//bazel:python.bzl", "py_test")\n'
        'py_test(name = "x_test", srcs = ["x_test.py"], pytest_main = True)\n'
    )
    result = run_tests(python, "//without_pytest:x_test", check=False)
    assert result.status == 3
    assert "pytest is not among the dependencies" in result.output + result.log
