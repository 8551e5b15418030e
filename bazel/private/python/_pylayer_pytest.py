"""Runs pytest on given files, with what Bazel asks for. `_pylayer_pytest_plugin` does what takes a plugin."""

import os
import re
import sys

import _pylayer_bazel as bazel

# Files with pytest's configuration, in its order, and what a file must contain to count.
CONFIGURATION_FILES = [
    ("pytest.toml", ""),
    (".pytest.toml", ""),
    ("pytest.ini", ""),
    (".pytest.ini", ""),
    ("pyproject.toml", r"^\s*\[\s*tool\s*\.\s*pytest\b"),
    ("tox.ini", r"^\[pytest\]"),
    ("setup.cfg", r"^\[tool:pytest\]"),
]


def run(runfiles, sources, arguments):
    """Runs the tests of the `sources`, which are paths. Returns the exit code."""
    try:
        import pytest
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        print(
            '{}: pytest is not among the dependencies. Add it to deps: requirement("pytest"), '
            "@pypi//pytest or however your BUILD files name it.".format(bazel.target()),
            file=sys.stderr,
        )
        return 1
    files = [source for source in sources if os.path.basename(source) not in ("__init__.py", "conftest.py")]
    if not files:
        print("{}: there are no tests in srcs".format(bazel.target()), file=sys.stderr)
        return 1
    version = tuple(map(int, re.findall(r"\d+", pytest.__version__)[:2]))
    return int(pytest.main(_options(runfiles, files, arguments, version) + files + arguments))


def _options(runfiles, files, arguments, version):
    top = _repository(runfiles, files)
    directory = os.path.commonpath([os.path.dirname(file) for file in files])
    configuration, text = _configuration_file(directory, top, version)
    options = [
        # Its directory is on sys.path.
        "-p",
        "_pylayer_pytest_plugin",
        "-p",
        "no:cacheprovider",
        # pytest would search the directories above the runfiles, too.
        "--rootdir=" + top,
        "--confcutdir=" + top,
        "-c",
        configuration,
    ]
    options += _import_options("\n".join([text, os.environ.get("PYTEST_ADDOPTS", ""), *arguments]), version)
    if os.environ.get("XML_OUTPUT_FILE"):
        options.append("--junitxml=" + os.environ["XML_OUTPUT_FILE"])
    if os.environ.get("TEST_TMPDIR"):
        # TMPDIR is TEST_TMPDIR or its short replacement.
        options.append("--basetemp=" + os.path.join(os.environ["TMPDIR"], "pytest"))
    if bazel.fail_fast():
        options.append("--exitfirst")
    if bazel.test_filter():
        options += ["-k", keywords(bazel.test_filter())]
    return options


def _import_options(given, version):
    """How pytest imports test files, unless the options that are `given` say so."""
    if "--import-mode" in given:
        return []
    # The other modes put the directories of test files on sys.path, where they shadow packages, and fail if two test
    # files have the same name.
    options = ["--import-mode=importlib"]
    if version >= (8, 1) and "consider_namespace_packages" not in given:
        # Without it, a file that is not in a regular package may have another name for pytest than for `import`.
        options += ["-o", "consider_namespace_packages=true"]
    return options


def _repository(runfiles, files):
    """The directory of the repository that contains all files, or else the runfiles."""
    repositories = {os.path.relpath(file, runfiles).split(os.sep)[0] for file in files}
    return os.path.join(runfiles, repositories.pop()) if len(repositories) == 1 else runfiles


def _configuration_file(directory, top, version):
    """The file with pytest's configuration in the directory, or in one above it up to `top`, and its text."""
    while True:
        for name, pattern in CONFIGURATION_FILES:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and (version >= (9, 0) or not name.endswith("pytest.toml")):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
                if re.search(pattern, text, re.MULTILINE):
                    return path, text
        if len(directory) <= len(top):
            return os.devnull, ""
        directory = os.path.dirname(directory)


def keywords(test_filter):
    """The expression for `-k` that a filter means.

    "TestParser::test_empty" and "TestParser.test_empty" become "TestParser and test_empty". Expressions, names of
    files, and names with parameters, such as "test_half[0.5]", stay as they are.
    """
    parts = test_filter.split("::")
    if re.fullmatch(r"\w+(\.\w+)+", parts[-1]) and not parts[-1].endswith(".py"):
        parts[-1:] = parts[-1].split(".")
    return " and ".join(parts)
