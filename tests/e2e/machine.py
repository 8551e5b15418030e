"""The part of an image that Bazel does not build: the machine's libc, and other libraries that the layers link to."""

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

from bazel import TIMEOUT

ELF = b"\x7fELF"

# Debian's merged /usr. A layer with one of these as a directory would hide the system.
MERGED = ["bin", "lib", "lib64", "sbin"]


def base_layer(layers_root: Path, python: str | None, path: Path) -> Path:
    """Writes a tar with everything that the files below `layers_root` need from a system.

    The launcher of a native `py_binary` starts with the `python3` on the PATH, which finds and runs the
    right interpreter. Here, `python3` is a link to the image's own (`python`), the only one in the image.
    Without `python`, the tar contains only libraries.
    """
    files = {"usr/bin/env": Path(shutil.which("env")).resolve()} if python else {}
    for library in shared_libraries([*files.values(), *elf_files(layers_root)]):
        if not library.resolve().is_relative_to(layers_root):  # the others are in the layers
            place = library.relative_to("/")
            files[str(place if place.parts[0] == "usr" else "usr" / place)] = library.resolve()
    links = {name: f"usr/{name}" for name in MERGED} | ({"usr/bin/python3": python} if python else {})

    folders = {"dev", "etc", "proc", "tmp", "usr/sbin"} if python else {f"usr/{name}" for name in MERGED}
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
