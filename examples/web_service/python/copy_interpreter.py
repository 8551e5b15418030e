"""Copies the Python that runs this into a folder that can be moved anywhere.

usage: python3 copy_interpreter.py DESTINATION

The result is laid out like python-build-standalone: bin/python3.x with the links python3 and python,
the standard library, the headers, and libpython where the executable needs it. What the machine added
(site-packages, caches) and what no program needs at run time (the test suite, static libraries, the
wheels of ensurepip) stays behind.

A shared libpython is found through the executable's run path, an absolute folder of this machine. It
is overwritten with `$ORIGIN/../lib`. Where the executable has no run path, because libpython lies in a
folder of the system, it goes on finding it there.
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
    "sitecustomize.py",  # Debian's is a link into /etc
    "test",
    "*.a",
    "libpython*",
    "_bundled",  # the wheels that ensurepip installs
    "*[:\\\\]*",  # a Bazel label cannot hold these
)


def copy_tree(source: Path, destination: Path) -> None:
    """Copies a folder; links become what they point to, and dangling ones stay behind."""
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
    """Copies the shared libpython and makes the executable find it beside itself."""
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
