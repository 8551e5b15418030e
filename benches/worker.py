"""Bazel's side of the conversation with a persistent worker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from files import File, sha256
from measure import Cost, busy_seconds


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def request(arguments: Iterable[str], inputs: Iterable[tuple[str, str]]) -> bytes:
    """A WorkRequest with its length before it. `inputs` are paths and digests."""
    message = b"".join(_field(1, argument.encode()) for argument in arguments)
    message += b"".join(_field(2, _field(1, os.fsencode(path)) + _field(2, digest.encode())) for path, digest in inputs)
    return _varint(len(message)) + message


class Worker:
    """A running worker."""

    def __init__(self, program: Path, folder: Path):
        self.started = time.perf_counter()
        command = [program, "--persistent_worker"]
        # Its log is of no interest, and a pipe that nobody reads would stop it.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=folder, bufsize=0, **pipes)
        self.first_byte = 0.0

    def ask(self, frame: bytes) -> Cost:
        """Sends a request and waits for the answer, which has to be a success."""
        cpu, own, busy, start = self.cpu_seconds(), time.process_time(), busy_seconds(), time.perf_counter()
        rest = memoryview(frame)
        while rest:
            rest = rest[self.process.stdin.write(rest) :]
        answer = self._answer()
        wall, busy, own = time.perf_counter() - start, busy_seconds() - busy, time.process_time() - own
        # Fields that are 0 or empty are not sent: a success without a warning has none.
        if answer:
            sys.exit(f"benches/run: the worker says: {answer!r}")
        return Cost(wall, self.cpu_seconds() - cpu, self.peak_memory(), busy - own)

    def _answer(self) -> bytes:
        length, shift = 0, 0
        while True:
            byte = self.process.stdout.read(1)
            if not byte:
                sys.exit("benches/run: the worker has ended")
            if not shift:
                self.first_byte = time.perf_counter() - self.started
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                return self.process.stdout.read(length) if length else b""

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Execroot:
    """A folder in which actions run, with the digests of their inputs as Bazel knows them."""

    def __init__(self, folder: Path, corpus: Path, files: Iterable[File]):
        self.folder = folder
        self.digests: dict[str, str] = {}
        (folder / "corpus").symlink_to(corpus)
        (folder / "out").mkdir()
        for file in files:
            if file.source:
                self.digests[f"corpus/{file.image}"] = sha256(file.source.read_bytes())

    def write(self, path: str, content: bytes) -> str:
        """Makes or changes a file and returns its exec path."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)
        self.digests[path] = sha256(content)
        return path

    def remove_outputs(self) -> None:
        """As Bazel does before an action."""
        for output in (self.folder / "out").iterdir():
            output.unlink()

    def output_size(self) -> int:
        return (self.folder / "out/layer").stat().st_size


class Layer:
    """The action that writes one layer. What is at each image path may be changed between requests."""

    def __init__(self, execroot: Execroot, name: str, files: Iterable[File], *options: str):
        self.execroot, self.name, self.options = execroot, name, options
        self.links = {file.image: file.link for file in files if file.link is not None}
        self.sources = {file.image: f"corpus/{file.image}" for file in files if file.link is None}

    def replace(self, image: str, content: bytes) -> None:
        """Puts `content` at `image`: the same exec path each time, as the output of another action."""
        self.sources[image] = self.execroot.write(f"edited/{image}", content)

    def moved(self, name: str, old: str, new: str) -> "Layer":
        """The layer with the same contents at other image paths."""
        layer = Layer(self.execroot, name, [], *self.options)
        layer.links = {image.replace(old, new, 1): link for image, link in self.links.items()}
        layer.sources = {image.replace(old, new, 1): source for image, source in self.sources.items()}
        return layer

    def total_size(self) -> int:
        return sum((self.execroot.folder / source).stat().st_size for source in self.sources.values())

    def request(self) -> bytes:
        lines = [f"f\t{image}\t{source}\n" for image, source in self.sources.items()]
        lines += [f"s\t{image}\t{text}\n" for image, text in self.links.items()]
        manifest = self.execroot.write(f"{self.name}.manifest", "".join(lines).encode())
        outputs = {"output": "layer", "descriptor": "layer.json", "listing": "layer.mtree"}
        arguments = ["--layer=all", "--group=all=", f"--manifest={manifest}", *self.options]
        arguments += [f"--{name}=out/{path}" for name, path in outputs.items()]
        inputs = [manifest, *sorted(self.sources.values())]
        return request(arguments, ((path, self.execroot.digests[path]) for path in inputs))
