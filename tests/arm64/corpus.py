"""Files of every kind that a layer has, and actions that pack them."""

import hashlib
import json
import os
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

from programs import Command, run

# Sizes in bytes at which the program decides differently (src/settings.rs, src/chunk.rs): files are deduplicated from
# 4 KiB. For gzip, a large file has 64 KiB, a run of files ends after 128 KiB to 1 MiB, and a part of a large file has
# at most 1 MiB. For zstd, that is 4 MiB, 4 to 16 MiB, and 8 MiB.
LIMITS = [4 << 10, 64 << 10, 128 << 10, 1 << 20, 4 << 20, 8 << 20]

# How an ELF image begins: 64 bits, little-endian.
ELF = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")


@dataclass(frozen=True)
class Outputs:
    """What an action that writes a layer has written."""

    layer: str  # SHA-256, because a difference of megabytes is unreadable
    descriptor: bytes
    listing: bytes
    metadata: bytes


class Corpus:
    """A folder with files, and a manifest of them. Both only depend on the arguments.

    There are `copies` of what compresses slowly. `largest` limits the sizes among LIMITS around which there are files.
    Actions run in the folder above, where their outputs must be, too.
    """

    def __init__(self, folder: Path, copies: int, largest: int):
        self.folder = folder
        self.base = folder.parent
        self.random = random.Random(f"{copies} {largest}")
        self.records = []
        self.words = ["".join(self.random.choices(ascii_lowercase, k=number % 9 + 2)) for number in range(2000)]
        (folder / "files").mkdir(parents=True)
        for number in range(copies):
            self._add_of_every_kind(f"app/{number}")
        for limit in LIMITS:
            if limit <= largest:
                for size in limit - 1, limit, limit + 1:
                    self._file(f"app/limits/{size}", self._cheap(size))
        # zstd's runs end there, too.
        self._file("app/limits/zeros", bytes(LIMITS[-1]))
        self._add_names()
        self._add_links()
        self._add_tree()
        manifest = b"".join(b"\t".join(map(_escape, record)) + b"\n" for record in self.records)
        (folder / "manifest").write_bytes(manifest)

    def _add_of_every_kind(self, root: str) -> None:
        text = self._text(300_000)
        self._file(f"{root}/module.py", text)
        self._file(f"{root}/duplicate.py", text)
        self._file(f"{root}/table.bin", self._table(200_000))
        self._file(f"{root}/sparse.bin", self._sparse(150_000))
        self._file(f"{root}/noise.bin", self.random.randbytes(150_000))
        for number in range(150):
            self._file(f"{root}/package/{number:03}.py", self._text(self.random.randrange(1, 1500)))
        self._file(f"{root}/script", b"#!/usr/bin/env python3\n")
        for machine in 62, 183:
            self._file(f"{root}/{machine}.so", ELF + struct.pack("<HHI", 3, machine, 1) + self._table(5000))

    def _add_names(self) -> None:
        names = ["empty", "café menu.json", "数据", "a=b#c", "back\\slash", "tab\tand\nnewline", "é" * 100]
        names += ["n" * length for length in (99, 100, 101, 250)]
        for name in [*map(os.fsencode, names), b"latin1-\xe9"]:
            self._file(b"app/names/" + name, b"" if name == b"empty" else name)
        self._file("app/" + "/".join(["deep" * 20] * 6) + "/file", b"deep")
        self.records.append((b"e", b"app/__init__.py"))

    def _add_links(self) -> None:
        links = {"link": "../0/module.py", "long": "d/" * 60 + "file", "lien": "été", "up": "../../app/0"}
        for name, target in links.items():
            self.records.append((b"s", os.fsencode(f"app/links/{name}"), os.fsencode(target)))
        (self.folder / "files" / "declared").symlink_to("dangling")
        self.records.append((b"l", b"app/links/declared", self._exec_path(self.folder / "files" / "declared")))

    def _add_tree(self) -> None:
        tree = self.folder / "files" / "tree"
        (tree / "sub").mkdir(parents=True)
        for number in range(20):
            (tree / "sub" / f"{number}").write_bytes(self._text(200 * number))
        (tree / "link").symlink_to("sub/1")
        self.records.append((b"t", b"app/tree", self._exec_path(tree)))

    def _file(self, path: str | bytes, content: bytes) -> None:
        file = self.folder / "files" / f"{len(self.records)}"
        file.write_bytes(content)
        self.records.append((b"f", os.fsencode(path), self._exec_path(file)))

    def _exec_path(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self.base))

    def _text(self, size: int) -> bytes:
        """Words, some of which are much more frequent than others."""
        words = (self.words[int(len(self.words) * self.random.random() ** 3)] for _ in range(size // 4 + 1))
        return " ".join(words).encode()[:size]

    def _table(self, size: int) -> bytes:
        """Binary records, as in a library or in an array of numbers."""
        record = struct.Struct("<IIfQ")
        numbers = range(size // record.size + 1)
        return b"".join(record.pack(n, n * 24, self.random.random(), 1 << n % 64) for n in numbers)[:size]

    def _sparse(self, size: int) -> bytes:
        """Zeros with a few other bytes."""
        content = bytearray(size)
        for _ in range(size // 200):
            content[self.random.randrange(size)] = self.random.randrange(256)
        return bytes(content)

    def _cheap(self, size: int) -> bytes:
        """Text that repeats, so that compressing megabytes takes no time."""
        text = self._text(min(size, 20_000))
        return (text * (size // len(text) + 1))[:size]

    def write_flagfile(self, outputs: Path, settings: dict, groups: dict | None = None, layer: str = "default") -> Path:
        """Writes the arguments of an action with its outputs in the folder `outputs`, and returns their exec path."""
        (outputs / "settings").write_text(json.dumps({"root": "app", **settings}))
        flagfile = outputs / "arguments"
        outputs = outputs.relative_to(self.base)
        arguments = {
            "layer": layer,
            "settings": outputs / "settings",
            "manifest": f"{self.folder.name}/manifest",
            "output": outputs / "layer",
            "descriptor": outputs / "descriptor",
            "listing": outputs / "listing",
            "layer_metadata": outputs / "metadata",
            "created_by": "a test",
        }
        if groups is not None:
            (flagfile.parent / "groups").write_text(json.dumps(groups))
            arguments["groups"] = outputs / "groups"
        flagfile.write_text("".join(f"--{name}={value}\n" for name, value in arguments.items()))
        return flagfile.relative_to(self.base)

    def pack(
        self,
        command: Command,
        outputs: Path,
        settings: dict,
        *,
        environment: dict[str, str] | None = None,
        **action,
    ) -> Outputs:
        """Runs an action that packs the corpus, in a process of its own."""
        flagfile = self.write_flagfile(outputs, settings, **action)
        assert run([*command, f"@{flagfile}"], cwd=self.base, environment=environment) == ""
        return read_outputs(outputs)


def read_outputs(folder: Path) -> Outputs:
    """The outputs of an action in `folder`."""
    layer = hashlib.sha256((folder / "layer").read_bytes()).hexdigest()
    return Outputs(layer, *((folder / name).read_bytes() for name in ("descriptor", "listing", "metadata")))


def _escape(field: bytes) -> bytes:
    return field.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n")
