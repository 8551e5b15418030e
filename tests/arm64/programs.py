"""The programs under test: for x86_64, and for aarch64 in qemu's user mode.

On an aarch64 machine, both are the same program, without qemu.
"""

import os
import subprocess
from pathlib import Path

from bazel import TIMEOUT, program

# Processors by qemu's names: the default, with everything that qemu knows; the first generation, which lacks atomic
# instructions and half-precision arithmetic; a server; and one with scalable vectors.
PROCESSORS = ["max", "cortex-a53", "neoverse-n1", "a64fx"]

Command = list[str | Path]


def emulator() -> Command:
    """What a command line for aarch64 starts with."""
    return [os.environ["QEMU_AARCH64"]] if os.environ["QEMU_AARCH64"] else []


def program_aarch64() -> Path:
    """The `pylayer` program for aarch64."""
    return Path(os.environ["PYLAYER_BIN_AARCH64"]).resolve()


def launcher_aarch64() -> Path:
    """The launcher for aarch64, not configured."""
    return Path(os.environ["PYLAYER_LAUNCHER_AARCH64"]).resolve()


def both() -> list[Command]:
    """The command lines of the program for x86_64 and for aarch64."""
    return [[program()], [*emulator(), program_aarch64()]]


def run(command: Command, *, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """What a command prints. It must succeed, and print no messages."""
    process = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=TIMEOUT,
    )
    assert (process.returncode, process.stderr) == (0, ""), f"{command}: {process.stderr}"
    return process.stdout
