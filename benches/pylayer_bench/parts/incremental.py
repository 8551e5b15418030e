"""Requests to a worker, with changes to the inputs in between, as between builds."""

from pylayer_bench.action import Execroot, Layer
from pylayer_bench.bench import Bench
from pylayer_bench.console import say
from pylayer_bench.corpus import BINARY, RUNFILES
from pylayer_bench.files import File, files_of, read_all, repository, total_size
from pylayer_bench.programs import BASELINES, COMMANDS
from pylayer_bench.results import Row
from pylayer_bench.worker import Worker

CODECS = {"gzip 6": ("gzip", 6), "zstd 3": ("zstd", 3)}


def measure(bench: Bench) -> dict[str, list[Row]]:
    worker_rounds = WorkerRounds(bench)
    for number in range(bench.rounds):
        read_all(worker_rounds.files)
        for codec in list(CODECS)[:: -1 if number % 2 else 1]:
            say(f"  {codec}")
            worker_rounds.whole_image(number, codec)
        worker_rounds.application(number)
    only_application = [file for file in worker_rounds.files if repository(file) == "_main"]
    baseline = {"application layer, awk + bsdtar, gzip 6": COMMANDS[BASELINES["gzip"]]}
    return {"incremental": [*worker_rounds.rows.values(), *bench.compare(bench.corpus, only_application, baseline)]}


class WorkerRounds:
    """Requests to workers for layers of the corpus, and the cost of each kind of request."""

    def __init__(self, bench: Bench):
        self.bench = bench
        self.files = files_of(bench.corpus)
        self.execroot = Execroot(bench.folder("execroot"), bench.corpus, self.files)
        self.rows: dict[str, Row] = {}

    def worker(self) -> Worker:
        return Worker(self.bench.program, self.execroot.folder)

    def record(self, name: str, worker: Worker, layer: Layer) -> None:
        request = layer.request()
        row = self.rows.setdefault(name, Row(name, "benches/run measure incremental"))
        row.files, row.bytes = len(layer.files), layer.total_size()
        # Only once: the worker caches what is new to it.
        prepare = self.execroot.remove_outputs
        row.add(self.bench.machine.undisturbed(prepare, lambda: worker.ask(request), attempts=1))
        row.size = self.execroot.output_size()

    def whole_image(self, number: int, codec: str) -> None:
        """The whole corpus in one layer, which is the worst case: an edit moves everything that sorts after it."""
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
            sharing = image.listed_differently("sharing")
            self.record(f"{codec}, a second image that shares the runfiles directory", worker, sharing)
            other = image.moved("other", BINARY, "srv/other_bin")
            self.record(f"{codec}, a second image with the same wheels", worker, other)
        with self.worker() as worker:
            self.record(f"{codec}, the second image, cold", worker, other)

    def application(self, number: int) -> None:
        """Small layers, as developers wait for them."""
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
    """The file in the middle, by bytes."""
    rest = total_size(files) / 2
    for file in files:
        rest -= file.source.stat().st_size if file.source else 0
        if rest <= 0:
            return file
    return files[-1]


def medium_wheel(files: list[File]) -> list[File]:
    """The wheel that is larger than five sixths of the wheels; the median one has only 50 KB."""
    wheels: dict[str, list[File]] = {}
    for file in files:
        if "pip_deps" in repository(file):
            wheels.setdefault(repository(file), []).append(file)
    return sorted(wheels.values(), key=total_size)[len(wheels) * 5 // 6]


def text_of_10_kb(*key: object) -> bytes:
    line = f"# {' '.join(map(str, key))}\n"
    return (line * (10_000 // len(line) + 1))[:10_000].encode()
