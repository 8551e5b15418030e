"""Records coverage of a Python process, and of the processes that it starts, for `bazel coverage`.

The rule places this module and `_pylayer_coverage.pth` into the site-packages of the virtual environment, if
coverage is enabled. The `.pth` file has one line:

    import _pylayer_coverage; _pylayer_coverage.start(VENV, TOOL)

with the runfiles path of the virtual environment, and that of the directory that contains the toolchain's package
`coverage`, or None. A package among the dependencies has precedence.

So coverage begins before the main file, which is still `__main__`, and in each child that runs the interpreter of
the virtual environment. Each process writes one file in COVERAGE_DIR when it ends, with the files that
COVERAGE_MANIFEST names. Bazel merges the files.

Processes that end by `os._exit`, `exec` or SIGKILL write nothing.
"""

import os
import sys

# Set for the children of a process that records.
MARK = "PYLAYER_COVERAGE"

_recording = None


def start(venv, tool=None):
    """Starts recording if Bazel asks for coverage."""
    environ = os.environ
    root, is_prefix = sys.prefix[: -len(venv) - 1], sys.prefix.endswith("/" + venv)
    if _recording or not is_prefix or not environ.get("COVERAGE_DIR"):
        return
    if not os.path.isfile(environ.get("COVERAGE_MANIFEST", "")):
        return
    is_first = MARK not in environ
    environ[MARK] = "1"
    if tool:
        sys.path.append(os.path.join(root, tool))
    try:
        import coverage
    except ImportError as error:
        if is_first:
            print(
                "{}: no coverage of Python code: {}. Add coverage to deps, or to the toolchain with "
                "`configure_coverage_tool = True`.".format(environ.get("TEST_TARGET", "warning"), error),
                file=sys.stderr,
            )
        return
    with open(environ["COVERAGE_MANIFEST"], encoding="utf-8") as manifest:
        sources = find_sources(manifest.read().splitlines(), root)
    if sources:
        _record(coverage, sources, is_first)


def find_sources(manifest, runfiles):
    """The manifest's paths of Python files, by the resolved paths, which are those that coverage uses.

    A runfile is a link or, with some remote executors, a file. The path in the execution root leads to the same file,
    or to none.
    """
    import re

    workspace = os.environ.get("TEST_WORKSPACE", "_main")
    execution_root = os.environ.get("ROOT", "")
    sources = {}
    for path in manifest:
        if path.endswith(".py"):
            short = re.sub(r"^bazel-out/[^/]+/(bin|genfiles)/", "", path)
            repository = re.match(r"(?:external|\.\.)/(.*)", short)
            runfile = repository.group(1) if repository else workspace + "/" + short
            for candidate in (os.path.join(runfiles, runfile), os.path.join(execution_root, path)):
                if os.path.exists(candidate):
                    sources.setdefault(os.path.realpath(candidate), path)
    return sources


def _record(coverage, sources, is_first):
    import atexit
    import signal
    import threading

    global _recording
    _recording = _Recording(coverage, sources, is_first)
    atexit.register(save)
    os.register_at_fork(after_in_child=_after_fork)
    # multiprocessing's pools end their workers with SIGTERM.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def save():
    """Ends the recording, and writes it."""
    if _recording:
        _recording.save()


def _on_sigterm(number, _frame):
    if _recording.is_saving:
        _recording.is_terminated = True
    else:
        save()
        _terminate(number)


def _terminate(number):
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _after_fork():
    global _recording
    _recording = _recording.of_child()
    util = sys.modules.get("multiprocessing.util")
    if util:
        # multiprocessing ends its children by os._exit, after the finalizers that were registered since it began.
        util.register_after_fork(_recording, lambda _: util.Finalize(None, save, exitpriority=-1000))


class _Recording:
    """What one process records. `sources` are paths in the manifest by resolved path."""

    def __init__(self, coverage, sources, is_first):
        import re

        self.coverage = coverage
        self.sources = sources
        self.is_first = is_first
        self.directory = os.path.abspath(os.environ["COVERAGE_DIR"])
        self.is_saved = False
        self.is_saving = False
        # Whether SIGTERM came while it was saving.
        self.is_terminated = False
        # Relative paths in the report are relative to this one.
        self.start_directory = os.getcwd()
        # A path with characters that patterns interpret matches with `?` in their place.
        include = [re.sub(r"[*?\[\]{}]", "?", source) for source in sources]
        self.measured = coverage.Coverage(data_file=None, config_file=False, branch=True, include=include)
        # On stderr, they would fail tests that compare the output of a child.
        names = ["no-data-collected", "module-not-imported", "module-not-measured", "couldnt-parse", "no-ctracer"]
        self.measured.set_option("run:disable_warnings", names)
        self.measured.start()

    def of_child(self):
        """A new recording, for a child that was forked. The parent writes what it recorded before."""
        self.measured.stop()
        return _Recording(self.coverage, self.sources, False)

    def save(self):
        import signal

        if self.is_saved:
            return
        self.is_saving = self.is_saved = True
        try:
            self.measured.stop()
            self._write()
        except Exception as error:
            print("coverage of process {} is lost: {}".format(os.getpid(), error), file=sys.stderr)
        self.is_saving = False
        if self.is_terminated:
            _terminate(signal.SIGTERM)

    def _write(self):
        import binascii

        # The first process reports files that were never imported, too.
        measured = self.measured.get_data().measured_files()
        reported = [source for source in self.sources if self.is_first or source in measured]
        if not reported:
            return
        os.makedirs(self.directory, exist_ok=True)
        unique = "python-{}-{}".format(os.getpid(), binascii.hexlify(os.urandom(6)).decode())
        path = os.path.join(self.directory, unique)
        self.measured.lcov_report(reported, outfile=path + ".tmp", ignore_errors=True)
        with open(path + ".tmp", encoding="utf-8") as report:
            lines = [self._for_bazel(line) for line in report]
        with open(path + ".tmp", "w", encoding="utf-8") as report:
            report.writelines(lines)
        # Bazel reads files by their extension.
        os.rename(path + ".tmp", path + ".dat")

    def _for_bazel(self, line):
        if line.startswith("SF:"):
            path = os.path.join(self.start_directory, line[len("SF:") : -1])
            return "SF:{}\n".format(self.sources.get(path) or self.sources[os.path.realpath(path)])
        if line.startswith("FN:"):
            # Older releases of Bazel's parser do not know the number of the last line, which is optional.
            first, *_, name = line.split(",")
            return "{},{}".format(first, name)
        return line
