"""The README's first command, in the example itself, with the program built from source."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bazel import TIMEOUT
from conftest import EXAMPLE

COMMAND = ["../../tools/bazel", "build", "//app:layers"]
PRINTED = [
    "bazel-bin/app/layers_interpreter.tar.gz",
    "bazel-bin/app/layers_numpy.tar.gz",
    "bazel-bin/app/layers_packages.tar.gz",
    "bazel-bin/app/layers_default.tar.gz",
]


def run(**environment: str) -> str:
    """Runs the command as a user would, and returns its output."""
    process = subprocess.run(
        COMMAND,
        cwd=EXAMPLE,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """Shuts down the server that the command leaves running."""
    yield
    subprocess.run(["../../tools/bazel", "shutdown"], cwd=EXAMPLE, check=True, timeout=TIMEOUT)


def test_it_prints_the_layers_and_workers_write_them() -> None:
    run()
    for layer in PRINTED:
        (EXAMPLE / layer).unlink()  # so that all are written again
    output = run()
    assert re.findall(r"^  (bazel-bin/\S+)$", output, re.MULTILINE) == PRINTED
    assert re.search(r"^INFO: \d+ processes: .*\b4 worker\b", output, re.MULTILINE), output
    assert all(Path(EXAMPLE, layer).stat().st_size for layer in PRINTED)


def test_it_builds_the_launcher_too() -> None:
    run()
    command = ["../../tools/bazel", "info", "output_base"]
    output_base = subprocess.check_output(command, cwd=EXAMPLE, text=True, timeout=TIMEOUT).strip()
    name = f"launcher_linux-{platform.machine()}_program"
    assert list(Path(output_base).glob(f"external/*pylayer_toolchains/{name}"))
