"""Reads layers with Python's tar reader, independently of the program that wrote them."""

import gzip
import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


# Codecs by a file's first bytes.
CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Entry:
    """An entry of a layer."""

    path: str
    type: str  # "file", "hard link", "symlink" or "directory"
    size: int = 0
    sha256: str = ""  # of the content, even for a hard link
    target: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    uname: str = ""
    gname: str = ""
    mtime: int = 0


class Layer:
    """A layer file. `codec` is `gzip`, `zstd`, or empty for a plain tar, according to its first bytes."""

    def __init__(self, path: Path):
        self.path = path
        with path.open("rb") as file:
            magic = file.read(4)
        self.codec = CODECS.get(magic) or CODECS.get(magic[:2], "")

    @property
    def blob(self) -> bytes:
        """The file's content. Not cached, because the tests have many layers."""
        return self.path.read_bytes()

    @property
    def tar(self) -> bytes:
        """The uncompressed tar."""
        if self.codec == "gzip":
            # gzip.decompress copies the rest of the layer after each member, of which eStargz has thousands.
            with gzip.open(self.path) as file:
                return file.read()
        if self.codec == "zstd":
            return subprocess.run(["zstd", "-dcq", self.path], stdout=subprocess.PIPE, check=True).stdout
        return self.blob

    @cached_property
    def digest(self) -> str:
        """The digest of the file."""
        return sha256(self.blob)

    @cached_property
    def diff_id(self) -> str:
        """The digest of the uncompressed tar."""
        return sha256(self.tar)

    @property
    def media_type(self) -> str:
        """The layer's media type in the OCI image specification."""
        return "application/vnd.oci.image.layer.v1.tar" + (f"+{self.codec}" if self.codec else "")

    @cached_property
    def entries(self) -> list[Entry]:
        """All entries, in the order of the tar."""
        entries, files = [], {}
        with tarfile.open(fileobj=io.BytesIO(self.tar), mode="r:") as tar:
            for member in tar:
                kind, size, digest = _kind(member), 0, ""
                if kind == "file":
                    size, digest = member.size, sha256(tar.extractfile(member).read())
                    files[member.name] = size, digest
                elif kind == "hard link":
                    size, digest = files[member.linkname]  # the target precedes it
                entries.append(
                    Entry(
                        member.name.removeprefix("./"),
                        kind,
                        size,
                        digest,
                        member.linkname,
                        member.mode,
                        member.uid,
                        member.gid,
                        member.uname,
                        member.gname,
                        member.mtime,
                    )
                )
        return entries

    @property
    def paths(self) -> list[str]:
        """The paths of all entries except directories."""
        return [entry.path for entry in self.entries if entry.type != "directory"]


def _kind(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return "directory"
    if member.issym():
        return "symlink"
    if member.islnk():
        return "hard link"
    assert member.isreg(), f"{member.name} is of type {member.type}"
    return "file"


def sha256(content: bytes) -> str:
    """The OCI digest of `content`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
