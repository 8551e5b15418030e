"""The pytest runner of `py_test`."""

import os
import re
import tempfile

import pytest
from conftest import Runfiles, ask_python, outcomes

PYTEST_VERSION = tuple(map(int, ask_python("__import__('pytest').__version__").split(".")[:2]))


@pytest.fixture
def runfiles(runfiles: Runfiles) -> Runfiles:
    runfiles.pytest()
    return runfiles


def pytest_run(runfiles: Runfiles, *sources: str, arguments=(), **options):
    return runfiles.test(*arguments, runner="pytest", sources=list(sources), **options)


def passing_tests(runfiles: Runfiles, count: int = 5) -> str:
    runfiles.file("pkg/many_test.py", "".join(f"def test_{i}(): pass\n" for i in range(count)))
    return "pkg/many_test.py"


def test_the_xml_file_has_every_outcome(runfiles):
    runfiles.file(
        "pkg/foo_test.py",
        """\
        import pytest
        def test_passes(): pass
        def test_fails(): assert [1] == [2]
        @pytest.mark.skip
        def test_is_skipped(): pass
        """,
    )
    xml = runfiles.outputs / "test.xml"
    result = pytest_run(runfiles, "pkg/foo_test.py", XML_OUTPUT_FILE=str(xml))
    assert result.returncode == 1
    assert "assert [1] == [2]" in result.stdout  # a rewritten assertion
    assert outcomes(xml) == {
        "pkg.foo_test.test_passes": "passed",
        "pkg.foo_test.test_fails": "failure",
        "pkg.foo_test.test_is_skipped": "skipped",
    }


def test_a_missing_pytest_is_one_message(runfiles):
    (runfiles.site_packages / "pytest").unlink()
    runfiles.file("pkg/foo_test.py", "def test(): pass\n")
    result = pytest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        '//pkg:app: pytest is not among the dependencies. Add it to deps: requirement("pytest"), @pypi//pytest or '
        "however your BUILD files name it."
    ]


@pytest.mark.skipif(PYTEST_VERSION < (8, 1), reason="pytest 8.1 introduced consider_namespace_packages")
def test_sources_have_the_names_that_imports_use(runfiles):
    runfiles.first_party("_main", "_main/src")
    runfiles.file("src/lib/conftest.py", "import pytest\n@pytest.fixture\ndef fixed(): return 1\n")
    runfiles.file("src/lib/helpers.py", "def check(x): assert x == 42\n")
    runfiles.file(
        "src/lib/foo_test.py",
        """\
        from . import helpers
        import lib.helpers
        def test(fixed, request):
            assert helpers is lib.helpers
            assert __name__ == "lib.foo_test"
            assert "/app.runfiles/_main/src/lib/" in __file__
        """,
    )
    sources = ["src/lib/foo_test.py", "src/lib/helpers.py", "src/lib/conftest.py"]
    # helpers.py has no test, which is not an error.
    result = pytest_run(runfiles, *sources)
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout


def test_files_may_have_the_same_name(runfiles):
    for package in ("a", "b", "c/d-e"):
        runfiles.file(f"{package}/foo_test.py", "def test(): pass\n")
    runfiles.file("b/__init__.py")
    result = pytest_run(runfiles, "a/foo_test.py", "b/foo_test.py", "b/__init__.py", "c/d-e/foo_test.py")
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout


def test_a_directory_of_tests_shadows_nothing(runfiles):
    runfiles.file("pkg/json.py", "raise ImportError('the wrong json')\n")
    runfiles.file("pkg/foo_test.py", "def test():\n    import json, sys\n    assert json.loads('1') == 1\n")
    result = pytest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 0, result.stdout


def test_configuration_comes_from_the_runfiles_only(runfiles):
    # In the workspace and above the runfiles, but not in the runfiles.
    (runfiles.workspace / "pkg").mkdir(parents=True)
    for directory in (runfiles.workspace, runfiles.workspace / "pkg", runfiles.root, runfiles.root.parent):
        (directory / "conftest.py").write_text("raise ImportError('an undeclared conftest.py')\n")
        (directory / "pytest.ini").write_text("[pytest]\naddopts = --undeclared\n")
    runfiles.file("pkg/foo_test.py", "def test(): pass\n")
    result = pytest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 0, result.stdout
    assert re.search(r"^rootdir: .*/app.runfiles/_main(,|$)", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '--maxfail=1'\n"),
        ("pytest.ini", "[pytest]\naddopts = --maxfail=1\n"),
        ("tox.ini", "[pytest]\naddopts = --maxfail=1\n"),
        ("setup.cfg", "[tool:pytest]\naddopts = --maxfail=1\n"),
    ],
)
def test_configuration_files_apply(runfiles, name, text):
    runfiles.file(name, text)
    runfiles.file("pkg/pyproject.toml", "[tool.black]\n")
    runfiles.file("pkg/conftest.py", "import pytest\n@pytest.fixture\ndef broken(): raise ValueError\n")
    runfiles.file("pkg/foo_test.py", "def test_a(broken): pass\ndef test_b(broken): pass\n")
    result = pytest_run(runfiles, "pkg/foo_test.py")
    assert f"configfile: {name}" in result.stdout
    assert "stopping after 1 failures" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        {"arguments": ["--import-mode=prepend"]},
        {"options": ["--import-mode=prepend"]},
        {"PYTEST_ADDOPTS": "--import-mode=prepend"},
    ],
)
def test_the_import_mode_can_be_changed(runfiles, options):
    runfiles.file("pkg/helpers.py")
    runfiles.file("pkg/foo_test.py", "import helpers\ndef test(): pass\n")
    assert pytest_run(runfiles, "pkg/foo_test.py").returncode == 2
    result = pytest_run(runfiles, "pkg/foo_test.py", **options)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("filter", "count"),
    [("test_3", 1), ("test_1 or test_3", 2), ("many_test.py::test_3", 1), ("many_test.test_3", 1), ("many_test.py", 5)],
)
def test_a_filter_selects_tests(runfiles, filter, count):
    source = passing_tests(runfiles)
    result = pytest_run(runfiles, source, TESTBRIDGE_TEST_ONLY=filter)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout


def test_a_filter_that_matches_nothing_fails(runfiles):
    source = passing_tests(runfiles)
    assert pytest_run(runfiles, source, TESTBRIDGE_TEST_ONLY="nothing").returncode == 5
    shard = {"TEST_TOTAL_SHARDS": "2", "TEST_SHARD_INDEX": "1"}
    assert pytest_run(runfiles, source, TESTBRIDGE_TEST_ONLY="nothing", **shard).returncode == 5


def test_sources_without_tests_fail(runfiles):
    runfiles.file("pkg/foo_test.py")
    assert pytest_run(runfiles, "pkg/foo_test.py").returncode == 5
    runfiles.file("pkg/__init__.py")
    assert pytest_run(runfiles, "pkg/__init__.py").returncode == 1


def run_shards(runfiles: Runfiles, source: str, total: int, arguments=()) -> list[str]:
    ran = []
    for index in range(total):
        status = runfiles.outputs / f"status{index}"
        xml = runfiles.outputs / f"test{index}.xml"
        result = pytest_run(
            runfiles,
            source,
            arguments=arguments,
            TEST_TOTAL_SHARDS=str(total),
            TEST_SHARD_INDEX=str(index),
            TEST_SHARD_STATUS_FILE=str(status),
            TEST_RANDOM_SEED=str(index),
            XML_OUTPUT_FILE=str(xml),
        )
        assert result.returncode == 0, result.stdout
        assert status.exists()
        ran += outcomes(xml)
    return sorted(ran)


def test_each_test_runs_in_one_shard(runfiles):
    source = passing_tests(runfiles, 3)
    assert run_shards(runfiles, source, 4) == [f"pkg.many_test.test_{i}" for i in range(3)]


def test_shards_work_with_other_plugins(runfiles):
    runfiles.packages("xdist", "pytest_xdist", "execnet", "pytest_randomly")
    if not (runfiles.site_packages / "xdist").exists():
        pytest.skip("PYLAYER_TEST_PYTHON has no pytest-xdist")
    source = passing_tests(runfiles, 3)
    assert run_shards(runfiles, source, 4, ["-n", "2"]) == [f"pkg.many_test.test_{i}" for i in range(3)]


def test_fail_fast_stops_at_the_first_failure(runfiles):
    runfiles.file("pkg/foo_test.py", "def test_a(): assert 0\ndef test_b(): assert 0\n")
    result = pytest_run(runfiles, "pkg/foo_test.py", TESTBRIDGE_TEST_RUNNER_FAIL_FAST="1")
    assert "1 failed" in result.stdout


def test_the_seed_is_that_of_bazel(runfiles):
    runfiles.file("pkg/foo_test.py", "import random\ndef test(): print('number', random.random())\n")
    numbers = []
    for seed in ("1", "1", "2"):
        result = pytest_run(runfiles, "pkg/foo_test.py", arguments=["-s"], TEST_RANDOM_SEED=seed)
        numbers += re.findall("number (.*)", result.stdout)
    assert numbers[0] == numbers[1] != numbers[2]


def test_the_seed_of_pytest_randomly_is_that_of_bazel(runfiles):
    runfiles.packages("pytest_randomly")
    if not (runfiles.site_packages / "pytest_randomly").exists():
        pytest.skip("PYLAYER_TEST_PYTHON has no pytest-randomly")
    source = passing_tests(runfiles)
    assert "Using --randomly-seed=7\n" in pytest_run(runfiles, source, TEST_RANDOM_SEED="7").stdout
    own = pytest_run(runfiles, source, arguments=["--randomly-seed=8"], TEST_RANDOM_SEED="7")
    assert "Using --randomly-seed=8\n" in own.stdout
    assert pytest_run(runfiles, source, arguments=["-p", "no:randomly"], TEST_RANDOM_SEED="7").returncode == 0


def test_warnings_go_to_the_file_that_bazel_reads(runfiles):
    runfiles.file("pkg/foo_test.py", "import warnings\ndef test(): warnings.warn('Beware')\n")
    path = runfiles.outputs / "warnings"
    result = pytest_run(runfiles, "pkg/foo_test.py", TEST_WARNINGS_OUTPUT_FILE=str(path))
    assert result.returncode == 0, result.stdout
    assert "pkg/foo_test.py:2: UserWarning: Beware" in path.read_text()


def test_sockets_fit_into_tmp_path(runfiles):
    runfiles.file(
        "pkg/foo_test.py",
        """\
        import os, socket
        def test_with_a_name_that_pytest_shortens(tmp_path, monkeypatch):
            monkeypatch.chdir(tmp_path)
            assert os.getcwd() == str(tmp_path)
            socket.socket(socket.AF_UNIX).bind(str(tmp_path / "a_socket_with_a_name"))
            print("in", tmp_path)
        """,
    )
    result = pytest_run(runfiles, "pkg/foo_test.py", arguments=["-s"])
    assert result.returncode == 0, result.stdout
    assert not os.path.exists(re.findall("in (/.*)", result.stdout)[0])
    # TEST_TMPDIR itself, if it is short.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        result = pytest_run(runfiles, "pkg/foo_test.py", arguments=["-s"], TEST_TMPDIR=short)
        assert f"in {short}/pytest/" in result.stdout


def test_nothing_is_written_into_the_runfiles(runfiles):
    source = passing_tests(runfiles)
    before = sorted(runfiles.root.rglob("*"))
    (runfiles.venv / "test.json").touch()
    assert pytest_run(runfiles, source).returncode == 0
    assert set(runfiles.root.rglob("*")) - {runfiles.venv / "test.json"} == set(before)
    assert not list(runfiles.workspace.rglob("__pycache__"))


def test_a_test_can_spawn_processes(runfiles):
    runfiles.file(
        "pkg/foo_test.py",
        """\
        import multiprocessing
        def square(x):
            return x * x
        def test():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.map(square, [2, 3]) == [4, 9]
        """,
    )
    result = pytest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 0, result.stdout
