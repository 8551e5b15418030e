"""Runs the tests of given files with unittest.

Options are those of `python -m unittest`; names select the tests whose dotted name contains them. If a file cannot
be imported, no test runs.
"""

import fnmatch
import importlib
import importlib.util
import os
import random
import sys
import time
import types
import unittest

import _pylayer_bazel as bazel
import _pylayer_junit as junit


def run(runfiles, sources, arguments):
    """Runs the tests of the `sources`, which are paths. Returns the exit code."""
    if bazel.random_seed():
        random.seed(bazel.random_seed())
    modules = [import_source(runfiles, source) for source in sources if os.path.basename(source) != "__init__.py"]
    program = _Program(modules, arguments)
    if not program.found_tests:
        reason = "no test matches the filter" if program.is_filtered else "there are no tests in srcs"
        print("{}: {}".format(bazel.target(), reason), file=sys.stderr)
        return 1
    if os.environ.get("XML_OUTPUT_FILE"):
        junit.write(os.environ["XML_OUTPUT_FILE"], bazel.target(), program.result.cases)
    return 0 if program.result.wasSuccessful() else 1


# --- importing ----------------------------------------------------------------------------------


def import_source(runfiles, path):
    """Imports a file by the dotted name that `import` would use, so that relative imports and pickle work.

    A file that cannot be imported by a name, such as `foo-test.py`, gets one that is derived from its path.
    """
    for name in _names(path):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):  # a parent is missing, or is not a package
            continue
        if spec and spec.origin and os.path.abspath(spec.origin) == path:
            return importlib.import_module(name)
    name = os.path.relpath(path, runfiles)[: -len(".py")].replace(".", "_").replace(os.sep, ".")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _names(path):
    """The dotted names of a file below the directories of sys.path, the innermost first."""
    package_root = os.path.dirname(path)
    while os.path.exists(os.path.join(package_root, "__init__.py")):
        package_root = os.path.dirname(package_root)
    roots = {os.path.abspath(entry) for entry in sys.path if entry}
    for root in sorted(roots, key=len, reverse=True):
        if (package_root + os.sep).startswith(os.path.join(root, "")):
            parts = os.path.relpath(path, root)[: -len(".py")].split(os.sep)
            if all(part.isidentifier() for part in parts):
                yield ".".join(parts)


# --- selecting and running ----------------------------------------------------------------------


class _Program(unittest.TestProgram):
    """unittest's command line, for the tests of given modules."""

    def __init__(self, modules, arguments):
        self.modules = modules
        # Without a module, unittest would discover tests by itself.
        super().__init__(types.ModuleType("tests"), argv=["unittest"] + arguments, exit=False, testRunner=_Runner)

    def createTests(self, *_args, **_kwargs):
        self.testLoader.testNamePatterns = self.testNamePatterns or None
        suite = unittest.TestSuite(map(self.testLoader.loadTestsFromModule, self.modules))
        names = [name.replace("::", ".") for name in [bazel.test_filter(), *(self.testNames or [])] if name]
        self.is_filtered = bool(names or self.testNamePatterns)
        selected = [test for test in _tests(suite) if all(_matches(test.id(), name) for name in names)]
        self.found_tests = bool(selected)
        here = bazel.in_this_shard(selected, lambda test: test.id())
        # A load_tests function may have returned a suite of its own class.
        self.test = suite if len(here) == suite.countTestCases() else unittest.TestSuite(here)
        self.failfast = self.failfast or bazel.fail_fast()


def _tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


def _matches(test_id, name):
    """As with `-k`: a substring, or a pattern with `*`."""
    return fnmatch.fnmatchcase(test_id, name) if "*" in name else name in test_id


class _Result(unittest.TextTestResult):
    """Collects what the XML file needs, besides unittest's own report."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cases = []
        self.started = None

    def startTest(self, test):
        self.started = time.perf_counter()
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        self.started = None

    def addSuccess(self, test):
        super().addSuccess(test)
        self._add(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._add(test, "failure", err[1], self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._add(test, "error", err[1], self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            is_failure = issubclass(err[0], test.failureException)
            details = (self.failures if is_failure else self.errors)[-1][1]
            self._add(subtest, "failure" if is_failure else "error", err[1], details)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._add(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._add(test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._add(test, "failure", "unexpected success")

    def _add(self, test, outcome="passed", message="", details=""):
        seconds = time.perf_counter() - self.started if self.started is not None else 0
        # Of a subtest, the part after the class has the parameters: "test_x (i=1)".
        case = getattr(test, "test_case", test)
        if isinstance(case, unittest.TestCase):
            classname = unittest.util.strclass(type(case))
            name = test.id()[len(classname) + 1 :] if test.id().startswith(classname + ".") else test.id()
        else:  # setUpClass or setUpModule failed: "setUpClass (pkg.foo_test.FooTest)"
            name, _, classname = test.id().rstrip(")").partition(" (")
        self.cases.append(junit.Case(classname, name, seconds, outcome, str(message), details))


class _Runner(unittest.TextTestRunner):
    resultclass = _Result
