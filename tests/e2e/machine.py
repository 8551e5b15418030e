"""What tests take from the machine: its Python, and the part of an image that Bazel does not build, the libc."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from bazel import TIMEOUT

ELF = b"\x7fELF"

# Debian's merged /usr. A layer with one of these as a directory would hide the system.
MERGED = ["bin", "lib", "lib64", "sbin"]


def python_version() -> str:
    """X.Y of the machine's Python, which is the interpreter of the workspaces."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.check_output(["python3", "-c", code], text=True).strip()


def base_layer(layers_root: Path, path: Path, python: str | None = None) -> Path:
    """Writes a tar with everything that the files below `layers_root` need from a system: shared libraries.

    With `python`, the path of an interpreter in the image, the tar also has what a launcher that is a script needs:
    `/usr/bin/env`, and a link to the interpreter as `python3` on the PATH.
    """
    files = {"usr/bin/env": Path(shutil.which("env")).resolve()} if python else {}
    for library in shared_libraries([*files.values(), *elf_files(layers_root)]):
        if not library.resolve().is_relative_to(layers_root):  # the others are in the layers
            place = library.relative_to("/")
            files[str(place if place.parts[0] == "usr" else "usr" / place)] = library.resolve()
    links = {name: f"usr/{name}" for name in MERGED} | ({"usr/bin/python3": python} if python else {})

    folders = {f"usr/{name}" for name in MERGED}
    folders |= {str(parent) for file in [*files, *links] for parent in PurePosixPath(file).parents}
    with tarfile.open(path, "w") as tar:
        for folder in sorted(folders - {"."}):
            tar.addfile(_info(folder, tarfile.DIRTYPE))
        for place, target in links.items():
            tar.addfile(_info(place, tarfile.SYMTYPE, linkname=target))
        for place, file in files.items():
            content = file.read_bytes()
            tar.addfile(_info(place, tarfile.REGTYPE, size=len(content)), io.BytesIO(content))
    return path


# The root folder cannot be written to, has neither /proc nor /dev, and belongs to a user that has no name.
_IN_ROOT = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, flags):
    if libc.mount(source, target, None, flags, None):
        raise OSError(ctypes.get_errno(), "mount")
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
root, environment, *command = sys.argv[1:]
mount(b"none", b"/", MS_REC | MS_PRIVATE)
mount(os.fsencode(root), os.fsencode(root), MS_BIND)
mount(b"none", os.fsencode(root), MS_REMOUNT | MS_BIND | MS_RDONLY)
os.chroot(root)
os.chdir("/")
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
os.execve(command[0], command, json.loads(environment))
"""


def in_root(root: Path, command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """The command line that runs `command` as process 1 with the root folder `root`, as strictly as a container can.

    Requires root.
    """
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return [*unshare, sys.executable, "-I", "-c", _IN_ROOT, str(root), json.dumps(environment or {}), *command]


def _info(name: str, type: bytes, **values) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = type, 0o755
    for key, value in values.items():
        setattr(info, key, value)
    return info


def elf_files(folder: Path) -> list[Path]:
    """Programs and libraries below `folder`."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in files if _begins_with(path, ELF)]


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def shared_libraries(programs: list[Path]) -> list[Path]:
    """All libraries that the loader of this machine finds for `programs`."""
    # ldd fails with "not a dynamic executable" for some.
    listing = subprocess.run(["ldd", *programs], capture_output=True, text=True, timeout=TIMEOUT).stdout
    return sorted({Path(path) for path in re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listing, re.MULTILINE)})
