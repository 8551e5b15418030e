"""Bazel's side of the worker protocol (proto/worker_protocol.proto)."""

import subprocess
from pathlib import Path

from bazel import TIMEOUT
from programs import Command

# Fields of the messages.
ARGUMENTS = 1
REQUEST_ID = 3


class Worker:
    """A persistent worker, which is stopped at the end of the `with` statement."""

    def __init__(self, command: Command, folder: Path):
        self.log = folder / "worker.log"
        self.process = subprocess.Popen(
            [*command, "--persistent_worker"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, arguments: list[str], request_id: int = 0) -> None:
        """Sends a request to run an action."""
        message = b"".join(_varint(ARGUMENTS << 3 | 2) + _sized(argument.encode()) for argument in arguments)
        if request_id:
            message += _varint(REQUEST_ID << 3) + _varint(request_id)
        self.process.stdin.write(_sized(message))
        self.process.stdin.flush()

    def receive(self) -> dict[int, int | bytes]:
        """The next response: values by field number. Fields that are 0 or empty are absent."""
        return _fields(self.process.stdout.read(_read_varint(self.process.stdout.read)))

    def end(self) -> int:
        """Ends the input, waits until the worker has ended, and returns its exit code. There must be no more output."""
        rest, _ = self.process.communicate(timeout=TIMEOUT)
        assert rest == b""
        return self.process.returncode


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _read_varint(read) -> int:
    value, shift = 0, 0
    while True:
        (byte,) = read(1)
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


def _fields(message: bytes) -> dict[int, int | bytes]:
    fields, position = {}, 0

    def read(length: int) -> bytes:
        nonlocal position
        position += length
        return message[position - length : position]

    while position < len(message):
        key = _read_varint(read)
        value = _read_varint(read)
        fields[key >> 3] = read(value) if key & 7 == 2 else value
    return fields
