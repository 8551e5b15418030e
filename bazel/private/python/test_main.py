"""Runs the tests of a `py_test` with pytest or unittest, the way Bazel asks for.

The rule writes `test.json` into the test's virtual environment (`sys.prefix`):

    {
      "runner": "pytest" | "unittest",
      "sources": ["_main/pkg/foo_test.py"],   runfiles paths of the test's own srcs
      "arguments": ["--durations=3"],         precede the command line's; optional
      "directory": "pkg/testdata"             where tests run, relative to the working directory; optional
    }

A test without a runner needs no wrapper: its main file is executed as it is. Coverage needs none either, because
`_pylayer_coverage` starts with the interpreter.

The modules beside this file have names that begin with `_pylayer_`. Their directory comes last on `sys.path`, so
they shadow nothing.

A process that multiprocessing spawns imports this file again, as `__mp_main__`. It must have no effect then.
"""

import sys


def main():
    import json
    import os

    with open(os.path.join(sys.prefix, "test.json"), encoding="utf-8") as file:
        settings = json.load(file)
    # Not the directory that links lead to, which is outside of the runfiles.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    runner = settings["runner"]
    if runner == "pytest":
        from _pylayer_pytest import run
    elif runner == "unittest":
        from _pylayer_unittest import run
    else:
        sys.exit("py_test: unknown runner in test.json: {!r}".format(runner))

    from _pylayer_bazel import announce_sharding, use_test_tmpdir

    runfiles = os.environ["RUNFILES_DIR"]
    sources = [os.path.join(runfiles, source) for source in settings["sources"] if source.endswith(".py")]
    announce_sharding()
    use_test_tmpdir()
    if "directory" in settings:
        os.chdir(settings["directory"])
    return run(runfiles, sources, settings.get("arguments", []) + sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
