"""What benches/run measures, and with which commands."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import measure
from archives import members
from files import (
    BINARY,
    RUNFILES,
    File,
    files_of,
    layer_manifest,
    mtree,
    read_all,
    repository,
    tarfile_manifest,
    write_large,
    write_many_small,
)
from measure import Cost, Machine
from worker import Execroot, Layer, Worker

REPOSITORY = Path(__file__).resolve().parents[1]

# --- the commands: as they are shown in BENCHMARKS.md ------------------------------------------------------

# One action, as a remote executor starts it, with everything that the rule asks for.
ACTION = (
    "cd $EXECROOT && $PYLAYER --layer=all --group=all= --manifest=manifest"
    " --descriptor=out/layer.json --listing=out/layer.mtree"
)
# As the original py_image_layer divides its manifest, here into one group that takes every path.
AWK = r"""awk 'BEGIN { print "#mtree" } $1 !~ /\.whl$/ { sub(/^/, "./"); if ($1 ~ ".") print }' $MTREE > $OUT/spec"""
BSDTAR_GZIP = f"{AWK} && bsdtar --create --gzip --options gzip:!timestamp --file $OUT/layer.tar.gz @$OUT/spec"
BSDTAR_ZSTD = f"{AWK} && bsdtar --create --zstd --options zstd:compression-level=3 --file $OUT/layer.tar.zst @$OUT/spec"
BSDTAR_PLAIN = f"{AWK} && bsdtar --create --file $OUT/layer.tar @$OUT/spec"
GNU_TAR = (
    "tar --create --directory $CORPUS --sort=name --owner=0 --group=0 --numeric-owner --mode=0755"
    " --mtime=@1672560000 --exclude='*.whl' ./app"
)


def pylayer(codec: str, level: int | None = None, dedupe: str = " --dedupe_from=off") -> str:
    ending = {"gzip": ".gz", "zstd": ".zst", "none": ""}[codec]
    level_option = f" --level={level}" if level else ""
    return f"{ACTION} --output=out/layer.tar{ending} --compress={codec}{level_option}{dedupe}"


GZIP_DIGESTS = "sha256sum $OUT/layer.tar.gz && gzip -dc $OUT/layer.tar.gz | sha256sum"
ZSTD_DIGESTS = "sha256sum $OUT/layer.tar.zst && zstd -dc $OUT/layer.tar.zst | sha256sum"

# By the names that benches/report knows them by.
CONTENDERS = {
    **{f"pylayer, gzip {level}": pylayer("gzip", level) for level in (1, 4, 6, 9)},
    **{f"pylayer, zstd {level}": pylayer("zstd", level) for level in (1, 3)},
    "pylayer, none": pylayer("none"),
    "pylayer, gzip 6, equal files once": pylayer("gzip", 6, dedupe=""),
    "awk + bsdtar, gzip 6": BSDTAR_GZIP,
    "awk + bsdtar, gzip 6, then digests": f"{BSDTAR_GZIP} && {GZIP_DIGESTS}",
    "awk + bsdtar, zstd 3": BSDTAR_ZSTD,
    "awk + bsdtar, zstd 3, then digests": f"{BSDTAR_ZSTD} && {ZSTD_DIGESTS}",
    "awk + bsdtar, none": BSDTAR_PLAIN,
    "awk + bsdtar, none, then digest": f"{BSDTAR_PLAIN} && sha256sum $OUT/layer.tar",
    "GNU tar + pigz, gzip 6": f"{GNU_TAR} | pigz -6 -p $JOBS > $OUT/layer.tar.gz",
    "GNU tar + zstd -T0, zstd 3": f"{GNU_TAR} | zstd -q -T0 -3 > $OUT/layer.tar.zst",
    "Python tarfile, gzip 6": "python3 benches/tarfile_layer.py $MANIFEST $OUT/layer.tar.gz",
}

# --- what every part needs ---------------------------------------------------------------------------------


@dataclass
class Row:
    """A line of a table: what each round cost."""

    name: str
    command: str
    # What is packed.
    files: int = 0
    bytes: int = 0
    jobs: int = 0
    # Bytes of the layer.
    size: int = 0
    # How many layers Bazel had written again.
    actions: int = 0
    # Rounds without a figure, because strangers kept the machine busy.
    disturbed: int = 0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)

    def add(self, cost: Cost | None) -> None:
        if cost is None:
            self.disturbed += 1
            return
        self.wall.append(round(cost.wall, 6))
        self.cpu.append(round(cost.cpu, 6))
        self.rss.append(cost.rss)


def total_size(files: Iterable[File]) -> int:
    return sum(file.source.stat().st_size for file in files if file.source)


@dataclass
class Bench:
    program: Path
    corpus: Path
    scratch: Path
    rounds: int
    quick: bool
    machine: Machine

    def folder(self, name: str) -> Path:
        path = self.scratch / name
        path.mkdir(parents=True)
        return path

    def compare(
        self, corpus: Path, files: list[File], commands: dict[str, str], *, rounds: int = 0, jobs: int = 0
    ) -> list[Row]:
        """Runs the commands one after another, round by round, each round beginning with another one."""
        rounds, jobs = rounds or self.rounds, jobs or measure.processors()
        rows = [Row(name, command, len(files), total_size(files), jobs) for name, command in commands.items()]
        out = self.scratch / "out"
        forms = {"MTREE": mtree(files), "MANIFEST": tarfile_manifest(files), "manifest": layer_manifest(files)}
        for name, text in forms.items():
            (self.scratch / name).write_text(text)
        link = self.scratch / "files"
        link.unlink(missing_ok=True)
        link.symlink_to(corpus)
        environment = {name: str(self.scratch / name) for name in forms}
        environment |= {"PYLAYER": str(self.program), "EXECROOT": str(self.scratch)}
        environment |= {"CORPUS": str(corpus), "OUT": str(out), "JOBS": str(jobs)}

        def clear() -> None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()

        expected = None
        for number in range(rounds):
            read_all(files)
            for index in range(len(rows)):
                row = rows[(index + number) % len(rows)]
                say(f"  {row.name}")
                run = functools.partial(measure.run, row.command, REPOSITORY, environment)
                row.add(self.machine.undisturbed(clear, run))
                layer = next(out.glob("*.tar*"))
                row.size = layer.stat().st_size
                if self.quick:
                    found = members(layer)
                    expected = expected or found
                    check(found == expected, f"{row.name}: other members than those of {rows[0].name}")
        clear()
        return rows


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check(truth: bool, message: str) -> None:
    if not truth:
        sys.exit(f"benches/run: {message}")


# --- the parts ---------------------------------------------------------------------------------------------


def cold(bench: Bench) -> dict[str, list[Row]]:
    """One layer of everything, from nothing."""
    return {"cold": bench.compare(bench.corpus, files_of(bench.corpus), CONTENDERS)}


def incremental(bench: Bench) -> dict[str, list[Row]]:
    """A worker whose inputs change between requests as they do between builds."""
    worker_rounds = WorkerRounds(bench)
    for number in range(bench.rounds):
        read_all(worker_rounds.files)
        for codec in list(CODECS)[:: -1 if number % 2 else 1]:
            say(f"  {codec}")
            worker_rounds.whole_image(number, codec)
        worker_rounds.application(number)
    only_application = [file for file in worker_rounds.files if repository(file) == "_main"]
    rival = {"application layer, awk + bsdtar, gzip 6": BSDTAR_GZIP}
    return {"incremental": [*worker_rounds.rows.values(), *bench.compare(bench.corpus, only_application, rival)]}


CODECS = {"gzip 6": ("--compress=gzip", "--level=6"), "zstd 3": ("--compress=zstd", "--level=3")}


class WorkerRounds:
    """Workers that are asked for layers of the corpus, and what each kind of request cost."""

    def __init__(self, bench: Bench):
        self.bench = bench
        self.files = files_of(bench.corpus)
        self.execroot = Execroot(bench.folder("execroot"), bench.corpus, self.files)
        self.rows: dict[str, Row] = {}

    def worker(self) -> Worker:
        return Worker(self.bench.program, self.execroot.folder)

    def record(self, name: str, worker: Worker, layer: Layer) -> None:
        frame = layer.request()
        row = self.rows.setdefault(name, Row(name, "benches/run incremental"))
        row.files, row.bytes = len(layer.sources) + len(layer.links), layer.total_size()
        # Once: what is new to the worker will not be new again.
        prepare = self.execroot.remove_outputs
        row.add(self.bench.machine.undisturbed(prepare, lambda: worker.ask(frame), attempts=1))
        row.size = self.execroot.output_size()

    def whole_image(self, number: int, codec: str) -> None:
        """All of the corpus in one layer, which is the worst case: an edit moves what sorts behind it."""
        image = Layer(self.execroot, "image", self.files, *CODECS[codec])
        edited = {"first": BINARY[:-1], "in the middle": f"{middle(self.files).image}_", "last": f"{RUNFILES}z"}
        wheel = medium_wheel(self.files)
        wheel_name = f"a wheel updated ({len(wheel)} files, {total_size(wheel) / 1e6:.1f} MB)"

        def update_wheel(version: int) -> None:
            for file in wheel:
                if file.source:
                    image.replace(file.image, file.source.read_bytes() + b"# %d\n" % version)

        for path in edited.values():
            image.replace(path, text_of_10_kb("before", number))
        update_wheel(0)
        with self.worker() as worker:
            self.record(f"{codec}, cold", worker, image)
            self.record(f"{codec}, nothing changed", worker, image)
            for place, path in edited.items():
                image.replace(path, text_of_10_kb(place, number))
                self.record(f"{codec}, 10 KB edited that sort {place}", worker, image)
            image.replace(f"{RUNFILES}/_main/services/added.py", text_of_10_kb("added", number))
            self.record(f"{codec}, 10 KB added to the application", worker, image)
            update_wheel(1)
            self.record(f"{codec}, {wheel_name}", worker, image)
            other = image.moved("other", BINARY, "srv/other_bin")
            self.record(f"{codec}, a second image with the same wheels", worker, other)
        with self.worker() as worker:
            self.record(f"{codec}, the second image, cold", worker, other)

    def application(self, number: int) -> None:
        """The small layers that a developer waits for."""
        modules = [file for file in self.files if repository(file) == "_main"]
        layer = Layer(self.execroot, "application", modules, *CODECS["gzip 6"])
        tiny = Layer(self.execroot, "tiny", modules[:10], *CODECS["gzip 6"])
        with self.worker() as worker:
            self.record("application layer, first request of a worker", worker, layer)
            for repetition in range(1 if self.bench.quick else 10):
                layer.replace(modules[len(modules) // 2].image, text_of_10_kb("layer", number, repetition))
                self.record("application layer, 10 KB edited", worker, layer)
                self.record("application layer, nothing changed", worker, layer)
                tiny.replace(modules[5].image, text_of_10_kb("tiny", number, repetition))
                self.record("layer of 10 files, one edited", worker, tiny)


def middle(files: list[File]) -> File:
    """The file before which half of the bytes are."""
    rest = total_size(files) / 2
    for file in files:
        rest -= file.source.stat().st_size if file.source else 0
        if rest <= 0:
            return file
    return files[-1]


def medium_wheel(files: list[File]) -> list[File]:
    """The wheel of which five times as many are smaller as are larger; the median one has but 50 KB."""
    wheels: dict[str, list[File]] = {}
    for file in files:
        if "pip_deps" in repository(file):
            wheels.setdefault(repository(file), []).append(file)
    return sorted(wheels.values(), key=total_size)[len(wheels) * 5 // 6]


def text_of_10_kb(*key: object) -> bytes:
    line = f"# {' '.join(map(str, key))}\n"
    return (line * (10_000 // len(line) + 1))[:10_000].encode()


def scaling(bench: Bench) -> dict[str, list[Row]]:
    """More files, more bytes, more threads."""
    ours, rival = ({name: CONTENDERS[name]} for name in ("pylayer, gzip 6", "awk + bsdtar, gzip 6"))
    by_files, by_bytes, by_threads = [], [], []
    for count in (10, 100) if bench.quick else (10, 1_000, 10_000, 150_000):
        say(f" {count} files")
        folder = new_binary(bench.folder(f"small_{count}"))
        # The binary is a file too.
        write_many_small(folder / RUNFILES, count - 1)
        by_files += bench.compare(folder, files_of(folder), ours | rival)
        shutil.rmtree(folder)

    # 2,000 files of 5 MB, of which the sizes below 10 GB are the first so many.
    file_size, biggest = (5_000, 100_000) if bench.quick else (5_000_000, 10_000_000_000)
    large = bench.folder("large")
    # Twice: the files, and a layer that is not compressed at all at worst.
    if shutil.disk_usage(large).free < 2 * biggest:
        biggest = 1_000_000_000
        say(f" too little room below {bench.scratch} for layers of 8 and 10 GB")
    for number in range(biggest // file_size):
        write_large(large / f"file_{number:04}", file_size)
    # What is still to be written to the disk would disturb.
    os.sync()
    sizes = (10_000, 50_000) if bench.quick else (10**6, 10**7, 10**8, 10**9, 8 * 10**9)
    for size in sizes:
        if size <= biggest:
            say(f" {size:,} bytes")
            folder = linked(bench.folder(f"large_{size}"), large, size, file_size)
            # Minutes each, so that a round more or less does not matter.
            rounds = 1 if size > 1_000_000_000 else 0
            by_bytes += bench.compare(folder, files_of(folder), ours | rival, rounds=rounds)
    memory = {name: CONTENDERS[name] for name in ("pylayer, gzip 6", "pylayer, zstd 3")}
    folder = linked(bench.folder("large_memory"), large, biggest, file_size)
    by_memory = bench.compare(folder, files_of(folder), memory, rounds=1)
    shutil.rmtree(large)

    for jobs in [2**power for power in range(10) if 2**power <= measure.processors()]:
        say(f" {jobs} threads")
        # The program has as many threads as it has processors.
        only = f"taskset --cpu-list 0-{jobs - 1} $PYLAYER"
        fewer = {name: command.replace("$PYLAYER", only) for name, command in memory.items()}
        by_threads += bench.compare(bench.corpus, files_of(bench.corpus), fewer, jobs=jobs)
    return {"files": by_files, "bytes": by_bytes, "memory": by_memory, "threads": by_threads}


def new_binary(folder: Path) -> Path:
    binary = folder / BINARY
    Path(f"{binary}.runfiles").mkdir(parents=True)
    binary.write_text("#!/usr/bin/env python3\n")
    return folder


def linked(folder: Path, large: Path, size: int, file_size: int) -> Path:
    """A binary with so many bytes of runfiles, which are links to files elsewhere, as Bazel makes them."""
    new_binary(folder)
    if size < file_size:
        write_large(folder / RUNFILES / "file", size)
    for number in range(size // file_size):
        name = f"file_{number:04}"
        (folder / RUNFILES / name).symlink_to(large / name)
    return folder


def startup(bench: Bench) -> dict[str, list[Row]]:
    """From the start of the process to the first byte of the answer to a request for one small file."""
    folder = new_binary(bench.folder("startup"))
    execroot = Execroot(bench.folder("startup_execroot"), folder, files_of(folder))
    frame = Layer(execroot, "startup", files_of(folder)).request()
    row = Row("start of a worker to the first byte of its answer", "benches/run startup", files=1)

    def start() -> Cost:
        with Worker(bench.program, execroot.folder) as worker:
            cost = worker.ask(frame)
            return dataclasses.replace(cost, wall=worker.first_byte)

    for _ in range(2 if bench.quick else 10 * bench.rounds):
        row.add(bench.machine.undisturbed(execroot.remove_outputs, start))
    return {"startup": [row]}


def inner(bench: Bench) -> dict[str, list[Row]]:
    """The criterion benchmarks. Planning and matching are what a request costs before it reads a file."""
    home = bench.folder("criterion")
    command = ["cargo", "bench", "--locked", "--bench", "inner"]
    command += ["--", "--quick"] if bench.quick else []
    environment = {**os.environ, "CRITERION_HOME": str(home)}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=sys.stderr)
    rows = []
    for facts in sorted(home.glob("**/new/benchmark.json")):
        sample = json.loads(facts.with_name("sample.json").read_text())
        row = Row(json.loads(facts.read_text())["title"], "cargo bench --bench inner")
        row.wall = [time / count / 1e9 for time, count in zip(sample["times"], sample["iters"], strict=True)]
        rows.append(row)
    return {"inner": rows}


PARTS = {part.__name__: part for part in (cold, incremental, scaling, startup, inner)}
