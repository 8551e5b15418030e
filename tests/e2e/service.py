"""Starts the example's service, and checks what it reports about itself."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# In seconds. On a busy machine, both take much longer than on an idle one.
STARTS_WITHIN = 600
ENDS_WITHIN = 60


@contextmanager
def running(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen]:
    """Runs a command, and terminates it and its children afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        finally:
            for sign in signal.SIGTERM, signal.SIGKILL:
                try:
                    os.killpg(process.pid, sign)
                    process.wait(ENDS_WITHIN)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass
            process.wait(ENDS_WITHIN)


def get(path: str, port: int, service: subprocess.Popen, log: Path) -> dict:
    """Requests a path, such as `report`, as soon as the service responds."""
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and service.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=STARTS_WITHIN) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"the service does not answer:\n{log.read_text(errors='replace')}")


def free_port() -> int:
    """A free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def constant_part(report: dict) -> dict:
    """Removes the paths of the interpreter and the extensions."""
    return {key: value for key, value in report.items() if key not in ("interpreter", "extensions")}


def check_report(report: dict, expected: dict, service: str) -> None:
    """Checks that it is correct, and was computed with the interpreter and extensions of the image."""
    assert constant_part(report) == expected
    runfiles = f"{service}.runfiles/"
    for path in report["interpreter"]["executable"], report["interpreter"]["prefix"]:
        assert path.startswith(runfiles), report["interpreter"]
    for name, path in report["extensions"].items():
        assert path.startswith(runfiles), f"{name} is {path}"
