"""The lists of files that each program packs."""

import json
import os
from collections.abc import Iterable, Iterator

from pylayer_bench.files import File

MTREE_COMMON = "uid=0 gid=0 time=1672560000 mode=0755"


def layer_manifest(files: Iterable[File]) -> str:
    """The manifest that the rule writes for pylayer."""
    return "".join(
        f"f\t{file.image}\t{file.source}\n" if file.link is None else f"s\t{file.image}\t{file.link}\n"
        for file in files
    )


def mtree(files: Iterable[File]) -> str:
    """The manifest from which awk makes the one that bsdtar reads."""

    def escape(path: str) -> str:
        return "".join(chr(byte) if 33 <= byte <= 126 and byte != 92 else f"\\{byte:03o}" for byte in os.fsencode(path))

    lines = []
    for path, file in _with_parents(files):
        if file is None:
            what = "type=dir"
        elif file.link is not None:
            what = f"type=link link={escape(file.link)}"
        else:
            what = f"type=file content={escape(str(file.source))}"
        # bsdtar treats a name without a slash as relative to the preceding folder.
        lines.append(f"{escape(path)}{'' if '/' in path else '/'} {MTREE_COMMON} {what}\n")
    return "".join(lines)


def tarfile_manifest(files: Iterable[File]) -> str:
    """The manifest for tarfile_layer.py: the path of each folder, or of a file with its content or link."""
    entries = [
        [path] if file is None else [path, str(file.source) if file.source else None, file.link]
        for path, file in _with_parents(files)
    ]
    return json.dumps(entries)


def _with_parents(files: Iterable[File]) -> Iterator[tuple[str, File | None]]:
    """The files, and the folders, each once before its contents."""
    seen = set()
    for file in files:
        parts = file.image.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in seen:
                seen.add(folder)
                yield folder, None
        yield file.image, file
