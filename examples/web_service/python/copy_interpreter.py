"""Copies the Python that runs this script into a relocatable folder.

usage: python3 copy_interpreter.py DESTINATION

The result has the layout of python-build-standalone: bin/python3.x with the links python3 and python,
the standard library, the headers, and libpython if the executable needs it. It omits what the machine
added (site-packages, caches) and what programs do not need at run time (the test suite, static
libraries, the wheels of ensurepip).

The executable finds a shared libpython through its run path, an absolute path on this machine, which is
replaced with `$ORIGIN/../lib`. If there is no run path, because libpython is in a system folder, the
executable still finds it there.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

LEFT_BEHIND = shutil.ignore_patterns(
    "__pycache__",
    "site-packages",
    "dist-packages",
    "sitecustomize.py",  # on Debian, a link into /etc
    "test",
    "*.a",
    "libpython*",
    "_bundled",  # the wheels that ensurepip installs
    "*[:\\\\]*",  # not allowed in Bazel labels
)


def copy_tree(source: Path, destination: Path) -> None:
    """Copies a folder. Links are replaced by their targets, and dangling ones omitted."""
    shutil.copytree(
        source,
        destination,
        ignore=LEFT_BEHIND,
        copy_function=shutil.copy,
        ignore_dangling_symlinks=True,
    )


def copy_executable(folder: Path) -> bytes:
    """Copies the executable, adds its two short names, and returns its content."""
    folder.mkdir(parents=True)
    name = f"python{sysconfig.get_python_version()}"
    shutil.copy(os.path.realpath(sys.executable), folder / name)
    for link in "python3", "python":
        (folder / link).symlink_to(name)
    return (folder / name).read_bytes()


def copy_libpython(executable: Path, content: bytes, folder: Path) -> None:
    """Copies the shared libpython, and sets the executable's run path to it."""
    source = Path(sysconfig.get_config_var("LIBDIR"))
    library = sysconfig.get_config_var("INSTSONAME")
    shutil.copy(source / library, folder / library)
    short_name = sysconfig.get_config_var("LDLIBRARY")
    if short_name != library:
        (folder / short_name).symlink_to(library)

    machine = b"\0%b\0" % os.fsencode(source)
    relative = b"\0$ORIGIN/../lib\0"
    if len(relative) <= len(machine):
        executable.write_bytes(content.replace(machine, relative.ljust(len(machine), b"\0")))


def main() -> None:
    """Copies everything."""
    destination = Path(sys.argv[1])
    content = copy_executable(destination / "bin")
    for key in "stdlib", "include":
        source = Path(sysconfig.get_path(key, vars={"installed_base": sys.base_prefix}))
        if source.is_dir():
            copy_tree(source, destination / source.relative_to(sys.base_prefix))
    if os.fsencode(sysconfig.get_config_var("INSTSONAME")) + b"\0" in content:
        executable = destination / "bin" / f"python{sysconfig.get_python_version()}"
        copy_libpython(executable, content, destination / "lib")


if __name__ == "__main__":
    main()
