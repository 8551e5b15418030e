"""The files that a benchmark packs, in the forms in which the programs want to be told of them."""

import functools
import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BINARY = "app/app_bin"
RUNFILES = f"{BINARY}.runfiles"
MTREE_COMMON = "uid=0 gid=0 time=1672560000 mode=0755"


@dataclass(frozen=True)
class File:
    """A place in the image, and what is there: the content of a file, or a symlink's text."""

    image: str
    source: Path | None = None
    link: str | None = None


def files_of(corpus: Path) -> list[File]:
    """What `pylayer pack` takes of CORPUS/app: all but wheels; links to absolute paths are followed."""
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


def repository(file: File) -> str:
    """The folder of the runfiles that holds the file: a wheel, the interpreter, the application."""
    parts = file.image.split("/")
    return parts[2] if file.image.startswith(f"{RUNFILES}/") else ""


def read_all(files: Iterable[File]) -> None:
    """Reads everything once, so that it is in the page cache."""
    for file in files:
        if file.source:
            with file.source.open("rb", buffering=0) as content:
                while content.read(1 << 20):
                    pass


def _with_parents(files: Iterable[File]) -> Iterator[tuple[str, File | None]]:
    """The folders, each once before what is in it, and the files."""
    seen = set()
    for file in files:
        parts = file.image.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in seen:
                seen.add(folder)
                yield folder, None
        yield file.image, file


def mtree(files: Iterable[File]) -> str:
    """The manifest from which awk makes the one that bsdtar reads."""

    def escape(path: str) -> str:
        return "".join(chr(byte) if 33 <= byte <= 126 and byte != 92 else f"\\{byte:03o}" for byte in os.fsencode(path))

    lines = []
    for path, file in _with_parents(files):
        if file is None:
            # bsdtar takes a name without a slash as relative to the folder before it.
            what = "type=dir"
        elif file.link is not None:
            what = f"type=link link={escape(file.link)}"
        else:
            what = f"type=file content={escape(str(file.source))}"
        lines.append(f"{escape(path)}{'' if '/' in path else '/'} {MTREE_COMMON} {what}\n")
    return "".join(lines)


def layer_manifest(files: Iterable[File]) -> str:
    """The manifest that the rule writes for pylayer, with the corpus below `files`."""
    lines = []
    for file in files:
        if file.link is not None:
            lines.append(f"s\t{file.image}\t{file.link}\n")
        else:
            lines.append(f"f\t{file.image}\tfiles/{file.image}\n")
    return "".join(lines)


def tarfile_manifest(files: Iterable[File]) -> str:
    """What tarfile_layer.py reads: the path of each folder, or of a file with its content or link."""
    entries = [
        [path] if file is None else [path, str(file.source) if file.source else None, file.link]
        for path, file in _with_parents(files)
    ]
    return json.dumps(entries)


def write_many_small(folder: Path, count: int) -> None:
    """Files of some 1 KB that compress like source code, 100 in each folder."""
    words = [f"word_{number}" for number in range(500)]
    chance = random.Random(count)
    for number in range(count):
        path = folder / f"part_{number // 10_000}" / f"sub_{number // 100 % 100}" / f"file_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(chance.choices(words, k=chance.randint(50, 150))))


@functools.cache
def _text_pool() -> bytes:
    """Words of no meaning: 4 MB, more than the windows of gzip and of zstd's level 3."""
    chance = random.Random(0)
    words = [f"{chance.getrandbits(40):x}" for _ in range(3000)]
    return " ".join(chance.choices(words, k=380_000)).encode()


def write_large(path: Path, size: int) -> None:
    """A file of which a quarter does not compress and the rest does, as in native libraries. No holes."""
    chance, pool = random.Random(path.name), _text_pool()
    with path.open("wb") as out:
        while out.tell() < size:
            block = bytearray(chance.randbytes(16 << 10))
            for _ in range(12):
                start = chance.randrange(len(pool) - 4096)
                block += pool[start : start + 4096]
            out.write(block[: size - out.tell()])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
