"""The contents of a layer, to check that all compared programs wrote the same."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

# Files that eStargz adds.
OF_THE_FORMAT = (".no.prefetch.landmark", "stargz.index.json")
READERS = {".gz": ["gzip", "-dc"], ".zst": ["zstd", "-dc"], ".tar": ["cat"]}


def members(layer: Path) -> dict[str, str]:
    """Each member's name, and the digest of its content (for a hard link, of its target's) or its link target."""
    plain = subprocess.run([*READERS[layer.suffix], layer], check=True, stdout=subprocess.PIPE).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for member in tar:
            if member.isfile() or member.islnk():
                what = hashlib.sha256(tar.extractfile(member).read()).hexdigest()
            else:
                what = f"-> {member.linkname}" if member.issym() else "folder"
            found[member.name.removeprefix("./")] = what
    return {name: what for name, what in found.items() if name not in OF_THE_FORMAT}
