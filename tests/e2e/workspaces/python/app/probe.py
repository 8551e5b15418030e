"""Prints what a binary finds out about itself."""

import importlib.metadata
import importlib.resources
import json
import multiprocessing
import os
import subprocess
import sys


def dependencies(_=None):
    """Imports one module of everything that the binary depends on."""
    import app.lib
    import hidden
    import legacy.one
    import legacy.two
    import moved
    import plain
    import single
    import space.deep.two
    import space.one
    import user

    return [
        app.lib.NAME,
        hidden.NAME,
        legacy.one.NAME,
        legacy.two.NAME,
        moved.NAME,
        plain.__name__,
        single.NAME,
        space.deep.two.NAME,
        space.one.NAME,
        user.answer,
        sys.from_pth,
    ]


def in_process(method):
    """The same in a process that multiprocessing starts."""
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(dependencies, [None])[0]


def in_interpreter():
    """The same in a process of sys.executable."""
    code = "import plain, space.one, moved; print(plain.__name__, space.one.NAME, moved.NAME)"
    return subprocess.check_output([sys.executable, "-IB", "-c", code], text=True).split()


def in_nested_environment(folder):
    """Makes a virtual environment, and asks its interpreter who it is."""
    subprocess.check_call([sys.executable, "-I", "-m", "venv", "--without-pip", folder])
    code = "import encodings, sys; print(sys.prefix); print(sys.base_prefix)"
    return subprocess.check_output([os.path.join(folder, "bin", "python"), "-I", "-c", code], text=True).split()


def main():
    """Prints everything."""
    facts = {
        "arguments": [os.fsencode(argument).hex() for argument in sys.argv[1:]],
        "base_prefix": sys.base_prefix,
        "cwd": os.getcwd(),
        "data": None,
        "dependencies": dependencies(),
        "environment": {name: os.environ.get(name) for name in ("PLACE", "INHERITED", "VIRTUAL_ENV", "RUNFILES_DIR")},
        "executable": sys.executable,
        "files": sorted(str(file) for file in importlib.metadata.files("plain")),
        "flags": {"isolated": sys.flags.isolated, "utf8": sys.flags.utf8_mode},
        "path": sys.path,
        "prefix": sys.prefix,
        "resource": importlib.resources.files("app.lib").joinpath("resource.txt").read_text(),
        "version": "{}.{}".format(*sys.version_info),
        "versions": {name: importlib.metadata.version(name) for name in ("plain", "space-one", "space-two")},
    }
    if "DATA" in os.environ:
        with open(os.path.join(os.environ["RUNFILES_DIR"], os.environ["DATA"])) as file:
            facts["data"] = file.read()
    if "--processes" in sys.argv:
        folder = os.path.join(os.environ.get("TEST_TMPDIR", "/tmp"), "nested")
        facts["spawn"] = in_process("spawn")
        facts["forkserver"] = in_process("forkserver")
        facts["fork"] = in_process("fork")
        facts["interpreter"] = in_interpreter()
        facts["nested"] = in_nested_environment(folder)
    json.dump(facts, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
