"""The bytes that pushes to a registry send, of images with the same interpreter and packages."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from oci import write_image
from registry import PROGRAM, registry

from pylayer_bench.bench import Bench
from pylayer_bench.console import check, say
from pylayer_bench.corpus import BINARY, RUNFILES
from pylayer_bench.files import files_of
from pylayer_bench.packing import SHARED, pack
from pylayer_bench.parts.incremental import medium_wheel
from pylayer_bench.results import Row

OTHER_BINARY = "app/other_bin"


@dataclass
class Image:
    """An image of a binary in `folder`."""

    # Of the push's row; empty if it only prepares the registry.
    row: str
    # In the registry, with its tag.
    name: str
    folder: Path
    binary: str = BINARY


def measure(bench: Bench) -> dict[str, list[Row]]:
    missing = [program for program in (PROGRAM, "skopeo") if shutil.which(program) is None]
    check(bench.quick or not missing, f"not on PATH: {', '.join(missing)}")
    if missing:
        say(f"  skipped, because this machine lacks {', '.join(missing)}")
        return {}
    corpus = bench.corpus
    other = linked_copy(corpus, bench.folder("other"), OTHER_BINARY)
    edit(min((other / f"{OTHER_BINARY}.runfiles/_main/services").rglob("*.py")))
    updated = linked_copy(corpus, bench.folder("updated"), BINARY)
    for file in medium_wheel(files_of(corpus)):
        if file.source:
            edit(updated / file.image)
    separate = [
        Image("", "first:1", corpus),
        Image("a second image, if each has its own runfiles directory", "second:1", other, OTHER_BINARY),
    ]
    shared = [
        Image("the first image", "first:1", corpus),
        Image("a second image that shares the runfiles directory", "second:1", other, OTHER_BINARY),
        Image("the first image with a wheel updated", "first:2", updated),
    ]
    split = [
        Image("", "first:1", corpus),
        Image("the first image with a wheel updated, split = 8", "first:2", updated),
    ]
    first, *rest = push_all(bench, shared, SHARED)
    rows = [first, *push_all(bench, separate), *rest, *push_all(bench, split, SHARED, "--split=8")]
    return {"push": rows}


def push_all(bench: Bench, images: list[Image], *options: str) -> list[Row]:
    """Packs images with these options, and pushes them to a new registry, one after another."""
    rows = []
    folder = bench.folder("registry")
    with registry(folder) as server:
        for image in images:
            say(f"  {image.row or 'the image before'}")
            layers = pack(bench, image.folder, "layers", *options, binary=image.binary)
            layout = write_image(folder / "image", layers)
            repository = image.name.partition(":")[0]
            before = server.uploaded(repository)
            sent = server.push(layout, image.name)
            if image.row:
                command = "skopeo copy --dest-tls-verify=false oci:image docker://127.0.0.1:$PORT/$NAME"
                row = Row(image.row, command, sent=[sent])
                row.size = sum(blob.stat().st_size for blob in (folder / "image/blobs/sha256").iterdir())
                row.layers = len((server.uploaded(repository) - before) & {layer.digest for layer in layers})
                rows.append(row)
            shutil.rmtree(folder / "image")
            shutil.rmtree(bench.scratch / "layers")
    shutil.rmtree(folder)
    return rows


def linked_copy(corpus: Path, folder: Path, binary: str) -> Path:
    """A copy of the corpus whose files are links, as Bazel creates them, and whose binary has another name."""
    runfiles = folder / f"{binary}.runfiles"
    shutil.copytree(corpus.resolve() / RUNFILES, runfiles, symlinks=True, copy_function=os.symlink)
    main = runfiles / "_main"
    (main / BINARY).rename(main / binary)
    (folder / binary).symlink_to(corpus / BINARY)
    return folder


def edit(path: Path) -> None:
    """Replaces a link by a changed copy of its target."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"# edited\n")
