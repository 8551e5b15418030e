"""What Bazel asks of every test, whatever runs it: see "Initial conditions" in Bazel's test encyclopedia."""

import os

# Names of Unix domain sockets have at most 107 bytes. This leaves 67 for what tests append: pytest's tmp_path takes
# up to 40 of them.
LONGEST_TMPDIR = 40


def test_filter():
    """The value of `--test_filter`, or ''."""
    return os.environ.get("TESTBRIDGE_TEST_ONLY", "")


def fail_fast():
    """Whether to stop at the first failure: `--test_runner_fail_fast`."""
    return os.environ.get("TESTBRIDGE_TEST_RUNNER_FAIL_FAST") == "1"


def random_seed():
    """A number that differs between the runs of `--runs_per_test`, or None."""
    return int(os.environ.get("TEST_RANDOM_SEED") or 0) or None


def target():
    """The label of the test."""
    return os.environ.get("TEST_TARGET", "this test")


def announce_sharding():
    """Tells Bazel that this test supports shards. Otherwise it assumes that each shard runs all tests."""
    path = os.environ.get("TEST_SHARD_STATUS_FILE")
    if path:
        with open(path, "a"):
            pass


def in_this_shard(tests, name):
    """The tests that this shard is to run, in their order.

    Shards may see the tests in different orders, for example with pytest-randomly. So the names of the tests, by
    the function `name`, decide which shard runs which.
    """
    total = int(os.environ.get("TEST_TOTAL_SHARDS") or 1)
    if total <= 1:
        return list(tests)
    ranked = sorted(range(len(tests)), key=lambda i: name(tests[i]))
    mine = set(ranked[int(os.environ["TEST_SHARD_INDEX"]) :: total])
    return [test for i, test in enumerate(tests) if i in mine]


def use_test_tmpdir():
    """Makes `tempfile` and child processes use TEST_TMPDIR.

    TEST_TMPDIR is usually too long for the names of Unix domain sockets. A private directory in TMPDIR or /tmp,
    which is removed at exit, replaces it then. A short link to TEST_TMPDIR would not do: pytest resolves it, and
    tests compare `os.getcwd()` with the path that they changed to.
    """
    test_tmpdir = os.environ.get("TEST_TMPDIR")
    if not test_tmpdir:
        return
    import tempfile

    if len(os.fsencode(test_tmpdir)) > LONGEST_TMPDIR:
        test_tmpdir = _short_directory() or test_tmpdir
    os.environ["TMPDIR"] = tempfile.tempdir = test_tmpdir


def _short_directory():
    import atexit
    import shutil
    import tempfile

    try:
        path = os.path.realpath(tempfile.mkdtemp(prefix="test-"))
    except OSError:  # no writable directory but TEST_TMPDIR
        return None

    def remove(owner=os.getpid()):
        if os.getpid() == owner:  # not in a child that was forked
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path
