"""The unittest runner of `py_test`."""

import os
import re

import pytest
from conftest import Runfiles, outcomes

SOURCE = """\
    import unittest

    class FirstTest(unittest.TestCase):
        def test_passes(self):
            pass

        def test_fails(self):
            self.assertEqual(1, 2)

        @unittest.skip("not today")
        def test_is_skipped(self):
            pass

        def test_has_subtests(self):
            for i in range(3):
                with self.subTest(i=i):
                    self.assertNotEqual(i, 1, "\\x1b[31m\\0")

    class SecondTest(unittest.TestCase):
        @unittest.expectedFailure
        def test_fails_as_expected(self):
            self.fail()

        def test_raises(self):
            raise KeyError("missing")
"""


def unittest_run(runfiles: Runfiles, *sources: str, arguments=(), **environ: str):
    return runfiles.test(*arguments, runner="unittest", sources=list(sources), **environ)


def passing_tests(runfiles: Runfiles, count: int = 5) -> str:
    methods = "".join(f"    def test_{i}(self): print('ran', {i})\n" for i in range(count))
    runfiles.file("pkg/many_test.py", "import unittest\nclass ManyTest(unittest.TestCase):\n" + methods)
    return "pkg/many_test.py"


def test_the_xml_file_has_every_outcome(runfiles):
    runfiles.file("pkg/foo_test.py", SOURCE)
    xml = runfiles.outputs / "test.xml"
    result = unittest_run(runfiles, "pkg/foo_test.py", XML_OUTPUT_FILE=str(xml))
    assert result.returncode == 1
    assert outcomes(xml) == {
        "pkg.foo_test.FirstTest.test_passes": "passed",
        "pkg.foo_test.FirstTest.test_fails": "failure",
        "pkg.foo_test.FirstTest.test_is_skipped": "skipped",
        "pkg.foo_test.FirstTest.test_has_subtests (i=1)": "failure",
        "pkg.foo_test.SecondTest.test_fails_as_expected": "passed",
        "pkg.foo_test.SecondTest.test_raises": "error",
    }


def test_a_failure_to_set_up_a_class_is_in_the_xml_file(runfiles):
    runfiles.file(
        "pkg/foo_test.py",
        """\
        import unittest
        class FooTest(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise OSError("no database")
            def test(self):
                pass
        """,
    )
    xml = runfiles.outputs / "test.xml"
    assert unittest_run(runfiles, "pkg/foo_test.py", XML_OUTPUT_FILE=str(xml)).returncode == 1
    assert outcomes(xml) == {"pkg.foo_test.FooTest.setUpClass": "error"}


def test_sources_have_the_names_that_imports_use(runfiles):
    runfiles.first_party("_main", "_main/src")
    runfiles.file("src/lib/helpers.py", "ANSWER = 42\n")
    runfiles.file(
        "src/lib/foo_test.py",
        """\
        import unittest
        from . import helpers
        import lib.helpers
        class FooTest(unittest.TestCase):
            def test(self):
                self.assertIs(helpers, lib.helpers)
                self.assertEqual(__name__, "lib.foo_test")
        """,
    )
    result = unittest_run(runfiles, "src/lib/foo_test.py")
    assert result.returncode == 0, result.stdout


def test_a_file_name_need_not_be_an_identifier(runfiles):
    for directory in ("a-b", "c-d"):
        runfiles.file(
            f"{directory}/foo-test.py", "import unittest\nclass FooTest(unittest.TestCase):\n    def test(self): pass\n"
        )
    result = unittest_run(runfiles, "a-b/foo-test.py", "c-d/foo-test.py")
    assert result.returncode == 0, result.stdout
    assert "Ran 2 tests" in result.stdout


def test_a_test_can_spawn_processes(runfiles):
    runfiles.file(
        "pkg/foo_test.py",
        """\
        import multiprocessing
        import unittest
        def square(x):
            return x * x
        class FooTest(unittest.TestCase):
            def test(self):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    self.assertEqual(pool.map(square, [2, 3]), [4, 9])
        """,
    )
    result = unittest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("filter", ["test_3", "ManyTest.test_3", "ManyTest::test_3", "*_3"])
def test_a_filter_selects_tests(runfiles, filter):
    source = passing_tests(runfiles)
    result = unittest_run(runfiles, source, TESTBRIDGE_TEST_ONLY=filter)
    assert result.returncode == 0, result.stdout
    assert re.findall(r"ran (\d)", result.stdout) == ["3"]


def test_a_filter_that_matches_nothing_fails(runfiles):
    source = passing_tests(runfiles)
    result = unittest_run(runfiles, source, TESTBRIDGE_TEST_ONLY="nothing")
    assert result.returncode == 1
    assert "//pkg:app: no test matches the filter" in result.stdout


def test_a_source_without_tests_fails(runfiles):
    runfiles.file("pkg/foo_test.py", "")
    result = unittest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 1
    assert "//pkg:app: there are no tests in srcs" in result.stdout


def test_a_source_that_cannot_be_imported_fails(runfiles):
    source = passing_tests(runfiles)
    runfiles.file("pkg/foo_test.py", "import missing\n")
    result = unittest_run(runfiles, source, "pkg/foo_test.py")
    assert result.returncode == 1
    assert "No module named 'missing'" in result.stdout
    assert "ran" not in result.stdout


def test_each_test_runs_in_one_shard(runfiles):
    source = passing_tests(runfiles, 5)
    status = runfiles.outputs / "status"
    ran = []
    for index in range(7):
        shard = {"TEST_TOTAL_SHARDS": "7", "TEST_SHARD_INDEX": str(index), "TEST_SHARD_STATUS_FILE": str(status)}
        result = unittest_run(runfiles, source, **shard)
        assert result.returncode == 0, result.stdout
        assert status.exists()
        status.unlink()
        ran += re.findall(r"ran (\d)", result.stdout)
    assert sorted(ran) == ["0", "1", "2", "3", "4"]


def test_fail_fast_stops_at_the_first_failure(runfiles):
    runfiles.file("pkg/foo_test.py", SOURCE)
    result = unittest_run(runfiles, "pkg/foo_test.py", TESTBRIDGE_TEST_RUNNER_FAIL_FAST="1")
    assert "failures=1" in result.stdout
    assert "errors" not in result.stdout


def test_options_of_unittest_are_arguments(runfiles):
    source = passing_tests(runfiles)
    result = unittest_run(runfiles, source, arguments=["-v", "-k", "test_1", "-k", "test_2"])
    assert result.returncode == 0, result.stdout
    assert re.findall(r"ran (\d)", result.stdout) == ["1", "2"]
    assert unittest_run(runfiles, source, arguments=["--unknown"]).returncode == 2


def test_tempfile_uses_a_short_directory_that_is_removed(runfiles):
    runfiles.file(
        "pkg/foo_test.py",
        """\
        import os, subprocess, sys, tempfile, unittest
        class FooTest(unittest.TestCase):
            def test(self):
                child = subprocess.check_output([sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"])
                print("in", child.decode().strip())
                print("in", tempfile.mkdtemp())
        """,
    )
    result = unittest_run(runfiles, "pkg/foo_test.py")
    assert result.returncode == 0, result.stdout
    child, parent = re.findall("^in (.*)", result.stdout, re.MULTILINE)
    assert os.path.dirname(child) == os.path.dirname(parent)
    assert len(parent) < 60
    assert not os.path.exists(os.path.dirname(parent))
    # TEST_TMPDIR itself, if it is short.
    result = unittest_run(runfiles, "pkg/foo_test.py", TEST_TMPDIR="/tmp")
    assert re.findall("^in /tmp/[^/]*$", result.stdout, re.MULTILINE)


def test_nothing_is_written_into_the_runfiles(runfiles):
    source = passing_tests(runfiles)
    unittest_run(runfiles, source)
    assert not list(runfiles.root.rglob("__pycache__"))
