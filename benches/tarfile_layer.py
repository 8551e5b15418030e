#!/usr/bin/env python3
"""Writes a .tar.gz with Python's tarfile, like pkg_tar of rules_pkg: zlib at level 6, one thread.

usage: tarfile_layer.py MANIFEST OUTPUT
"""

import gzip
import json
import os
import sys
import tarfile
from pathlib import Path

MTIME = 946684800


def main() -> None:
    manifest, output = sys.argv[1:]
    with (
        gzip.GzipFile(output, "w", compresslevel=6, mtime=MTIME) as compressed,
        tarfile.open(output, "w:", fileobj=compressed, format=tarfile.GNU_FORMAT) as tar,
    ):
        for path, *content in json.loads(Path(manifest).read_text()):
            info = tarfile.TarInfo(f"./{path}" if content else f"./{path}/")
            info.mtime, info.mode = MTIME, 0o755
            match content:
                case []:
                    info.type = tarfile.DIRTYPE
                    tar.addfile(info)
                case [None, link]:
                    info.type, info.linkname = tarfile.SYMTYPE, link
                    tar.addfile(info)
                case [source, None]:
                    with open(source, "rb") as file:
                        info.size = os.fstat(file.fileno()).st_size
                        tar.addfile(info, file)


if __name__ == "__main__":
    main()
