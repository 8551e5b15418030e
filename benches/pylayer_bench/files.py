"""The files of a layer."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pylayer_bench.corpus import BINARY, RUNFILES


@dataclass(frozen=True)
class File:
    """An image path, and the content of a file or the target of a symlink."""

    image: str
    source: Path | None = None
    link: str | None = None


def files_of(corpus: Path) -> list[File]:
    """The files of CORPUS/app that `pylayer pack` packs: all but wheels; absolute links are followed."""
    files = [File(BINARY, corpus / BINARY)]
    for folder, folders, names in os.walk(corpus / RUNFILES):
        for path in (Path(folder, name) for name in folders + names):
            target = os.readlink(path) if path.is_symlink() else None
            image = str(path.relative_to(corpus))
            if target is not None and not target.startswith("/"):
                files.append(File(image, link=target))
            elif path.is_file() and path.suffix != ".whl":
                files.append(File(image, path))
    return sorted(files, key=lambda file: os.fsencode(file.image))


def new_binary(folder: Path) -> Path:
    """Creates a binary without runfiles in `folder`, and returns `folder`."""
    (folder / RUNFILES).mkdir(parents=True)
    (folder / BINARY).write_text("#!/usr/bin/env python3\n")
    return folder


def repository(file: File) -> str:
    """The folder of the runfiles that contains the file: a wheel, the interpreter, or the application."""
    parts = file.image.split("/")
    return parts[2] if file.image.startswith(f"{RUNFILES}/") else ""


def total_size(files: Iterable[File], root: Path = Path()) -> int:
    """The total size of all contents. Relative sources are relative to `root`."""
    return sum((root / file.source).stat().st_size for file in files if file.source)


def read_all(files: Iterable[File]) -> None:
    """Reads all files once, so that they are in the page cache."""
    for file in files:
        if file.source:
            with file.source.open("rb", buffering=0) as content:
                while content.read(1 << 20):
                    pass
