"""Layers with more files, more bytes, and more threads."""

import functools
import os
import random
import shutil
from pathlib import Path

from pylayer_bench.bench import Bench
from pylayer_bench.console import say
from pylayer_bench.corpus import RUNFILES
from pylayer_bench.cost import processors
from pylayer_bench.files import files_of, new_binary
from pylayer_bench.programs import commands
from pylayer_bench.results import Row

WITH_BASELINE = commands("pylayer, gzip 6", "awk + bsdtar, gzip 6")
BOTH_CODECS = commands("pylayer, gzip 6", "pylayer, zstd 3")


def measure(bench: Bench) -> dict[str, list[Row]]:
    return {"files": more_files(bench), **more_bytes(bench), "threads": more_threads(bench)}


def more_files(bench: Bench) -> list[Row]:
    rows = []
    for count in (10, 100) if bench.quick else (10, 1_000, 10_000, 150_000):
        say(f" {count} files")
        folder = new_binary(bench.folder(f"small_{count}"))
        # The binary is a file too.
        write_many_small(folder / RUNFILES, count - 1)
        rows += bench.compare(folder, files_of(folder), WITH_BASELINE)
        shutil.rmtree(folder)
    return rows


def more_bytes(bench: Bench) -> dict[str, list[Row]]:
    """Two tables from the same 2,000 files of 5 MB; layers of less than 10 GB use the first ones."""
    by_bytes = []
    file_size, biggest = (5_000, 100_000) if bench.quick else (5_000_000, 10_000_000_000)
    large = bench.folder("large")
    # Twice the size, for the files and, at worst, a layer that does not compress.
    if shutil.disk_usage(large).free < 2 * biggest:
        biggest = 1_000_000_000
        say(f" too little room below {bench.scratch} for layers of 8 and 10 GB")
    for number in range(biggest // file_size):
        write_large(large / f"file_{number:04}", file_size)
    # Pending writes to the disk would disturb the measurements.
    os.sync()
    sizes = (10_000, 50_000) if bench.quick else (10**6, 10**7, 10**8, 10**9, 8 * 10**9)
    for size in sizes:
        if size <= biggest:
            say(f" {size:,} bytes")
            folder = linked(bench.folder(f"large_{size}"), large, size, file_size)
            # A single round of the largest, which takes minutes and hardly varies.
            rounds = 1 if size > 1_000_000_000 else 0
            by_bytes += bench.compare(folder, files_of(folder), WITH_BASELINE, rounds=rounds)
    folder = linked(bench.folder("large_memory"), large, biggest, file_size)
    memory = bench.compare(folder, files_of(folder), BOTH_CODECS, rounds=1)
    shutil.rmtree(large)
    return {"bytes": by_bytes, "memory": memory}


def more_threads(bench: Bench) -> list[Row]:
    rows = []
    for jobs in [2**power for power in range(10) if 2**power <= processors()]:
        say(f" {jobs} threads")
        # The program starts one thread per available processor.
        only = f"taskset --cpu-list 0-{jobs - 1} $PYLAYER"
        fewer = {name: command.replace("$PYLAYER", only) for name, command in BOTH_CODECS.items()}
        rows += bench.compare(bench.corpus, files_of(bench.corpus), fewer, jobs=jobs)
    return rows


def linked(folder: Path, large: Path, size: int, file_size: int) -> Path:
    """A binary with runfiles of this size, which are links to files elsewhere, as Bazel creates them."""
    new_binary(folder)
    if size < file_size:
        write_large(folder / RUNFILES / "file", size)
    for number in range(size // file_size):
        name = f"file_{number:04}"
        (folder / RUNFILES / name).symlink_to(large / name)
    return folder


def write_many_small(folder: Path, count: int) -> None:
    """Writes files of about 1 KB that compress like source code, 100 per folder."""
    words = [f"word_{number}" for number in range(500)]
    chance = random.Random(count)
    for number in range(count):
        path = folder / f"part_{number // 10_000}" / f"sub_{number // 100 % 100}" / f"file_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(chance.choices(words, k=chance.randint(50, 150))))


@functools.cache
def _text_pool() -> bytes:
    """4 MB of random words, more than the windows of gzip and of zstd at level 3."""
    chance = random.Random(0)
    words = [f"{chance.getrandbits(40):x}" for _ in range(3000)]
    return " ".join(chance.choices(words, k=380_000)).encode()


def write_large(path: Path, size: int) -> None:
    """Writes a file that is a quarter incompressible, like a native library. It has no holes."""
    chance, pool = random.Random(path.name), _text_pool()
    with path.open("wb") as out:
        while out.tell() < size:
            block = bytearray(chance.randbytes(16 << 10))
            for _ in range(12):
                start = chance.randrange(len(pool) - 4096)
                block += pool[start : start + 4096]
            out.write(block[: size - out.tell()])
