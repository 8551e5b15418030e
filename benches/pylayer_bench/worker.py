"""A persistent worker, and Bazel's side of the worker protocol."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from pylayer_bench.console import check
from pylayer_bench.cost import Cost, busy_seconds


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def work_request(arguments: Iterable[str], inputs: Iterable[tuple[str, str]]) -> bytes:
    """A length-prefixed WorkRequest. `inputs` are paths and digests."""
    message = b"".join(_field(1, argument.encode()) for argument in arguments)
    message += b"".join(_field(2, _field(1, os.fsencode(path)) + _field(2, digest.encode())) for path, digest in inputs)
    return _varint(len(message)) + message


class Worker:
    """A running worker, which is stopped at the end of the `with` statement."""

    def __init__(self, program: Path, folder: Path):
        self.started = time.perf_counter()
        # The log is discarded: a full pipe would block the worker.
        self.process = subprocess.Popen(
            [program, "--persistent_worker"],
            cwd=folder,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        # Seconds from the start to the first byte of the latest response.
        self.first_byte = 0.0

    def ask(self, request: bytes) -> Cost:
        """Sends a request and waits for the response, which must be a success."""
        cpu, own, busy, start = self.cpu_seconds(), time.process_time(), busy_seconds(), time.perf_counter()
        rest = memoryview(request)
        while rest:
            rest = rest[self.process.stdin.write(rest) :]
        answer = self._answer()
        wall, busy, own = time.perf_counter() - start, busy_seconds() - busy, time.process_time() - own
        # Fields that are 0 or empty are not sent, so a success without a warning is empty.
        check(not answer, f"the worker's answer is {answer!r}")
        return Cost(wall, self.cpu_seconds() - cpu, self.peak_memory(), busy - own)

    def _answer(self) -> bytes:
        length, shift = 0, 0
        while True:
            byte = self.process.stdout.read(1)
            check(bool(byte), "the worker has ended")
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
