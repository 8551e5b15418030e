"""Runs `tools/bazel` in workspaces of the tests.

Such a workspace is a copy of a folder of this checkout, with its own output folders. These must not be in
/tmp, which Bazel's linux-sandbox hides. Its Bazel server ends with the tests.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = CHECKOUT / "tools" / "bazel"

# No command of these tests takes longer, even on a slow machine.
TIMEOUT = 1200

# Disables output for interactive terminals.
PLAIN_OUTPUT = ["--color=no", "--curses=no", "--noshow_progress"]

PATH_TOOLCHAIN = """
pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")
pylayer.path(launcher = "{launcher}", path = "{program}")
"""


@dataclass
class Result:
    """The result of a Bazel command."""

    status: int
    output: str
    log: str

    @property
    def processes(self) -> dict[str, int]:
        """The number of actions by how they ran: `{"internal": 1, "worker": 4}`."""
        summary = re.findall(r"^INFO: \d+ process(?:es)?: (.*)\.$", self.log, re.MULTILINE)
        counts = (part.split(" ", 1) for part in summary[-1].split(", "))
        return {how: int(count) for count, how in counts}


@dataclass
class Spawn:
    """An action that a build ran, as a process or in a worker."""

    mnemonic: str
    runner: str
    outputs: list[str]
    command: list[str]
    environment: dict[str, str]
    inputs: dict[str, str]  # SHA-256 by path, relative to the execution root


@dataclass
class Workspace:
    """A workspace in which Bazel runs."""

    folder: Path
    output_user_root: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    # Options of every command.
    options: list[str] = field(default_factory=list)
    # The start of every command line, such as a program that changes the user.
    prefix: list[str] = field(default_factory=list)

    def run(
        self,
        command: str,
        *arguments: str | Path,
        check: bool = True,
        environment: dict[str, str] | None = None,
        umask: int = -1,
    ) -> Result:
        """Runs a Bazel command. `umask` and `environment` apply to a server that it starts."""
        process = subprocess.run(
            self._command_line(command, *arguments),
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **self.environment, **(environment or {})},
            umask=umask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
        )
        result = Result(process.returncode, process.stdout, process.stderr)
        assert not check or result.status == 0, f"bazel {command} {arguments}:\n{result.log}"
        return result

    def start(self, command: str, *arguments: str | Path) -> subprocess.Popen:
        """Starts a Bazel command without waiting for it. Its messages are in the process's `stderr`."""
        return subprocess.Popen(
            self._command_line(command, *arguments),
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def _command_line(self, command: str, *arguments: str | Path) -> list[str | Path]:
        startup = [f"--output_user_root={self.output_user_root}"] if self.output_user_root else []
        return [*self.prefix, TOOL, *startup, command, *self.options, *map(str, arguments)]

    def build(self, *arguments: str | Path, **options) -> Result:
        """Runs `bazel build`."""
        return self.run("build", *PLAIN_OUTPUT, *arguments, **options)

    def spawns(self, *arguments: str | Path, **options) -> list[Spawn]:
        """Builds, and returns the spawns that were executed."""
        log = self.folder.parent / f"{self.folder.name}.execution_log.json"
        self.build(f"--execution_log_json_file={log}", *arguments, **options)
        text, decoder, found = log.read_text(), json.JSONDecoder(), []
        while text := text.strip():
            entry, end = decoder.raw_decode(text)
            found.append(_spawn(entry))
            text = text[end:]
        return found

    def files(self, target: str, *options: str) -> list[Path]:
        """The output files of `target`."""
        query = self.run("cquery", "--output=files", *options, target)
        return [self.folder / line for line in query.output.splitlines()]

    def shutdown(self) -> None:
        """Ends the server."""
        self.run("shutdown", check=False)

    @property
    def output_base(self) -> Path:
        """Where Bazel keeps what it builds and downloads for this workspace, named by the workspace's path."""
        return self.output_user_root / hashlib.md5(os.fsencode(self.folder)).hexdigest()


def downloaded_wheels(workspace: Workspace) -> list[Path]:
    """The wheels in the repositories `pip_deps_*` of a workspace that has been built."""
    return sorted((workspace.folder / "bazel-out").resolve().parents[2].glob("external/*pip_deps_*/*.whl"))


def _spawn(entry: dict) -> Spawn:
    """Converts an entry of the execution log."""
    return Spawn(
        entry["mnemonic"],
        entry["runner"],
        [_utf8(path) for path in entry["listedOutputs"]],
        [_utf8(argument) for argument in entry["commandArgs"]],
        {variable["name"]: variable["value"] for variable in entry["environmentVariables"]},
        {_utf8(file["path"]): file.get("digest", {}).get("hash", "") for file in entry["inputs"]},
    )


def _utf8(text: str) -> str:
    """Decodes text of the execution log, in which Bazel 7 encodes each byte of UTF-8 as a character."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def copy_workspace(source: Path, folder: Path) -> Path:
    """Copies a workspace of this checkout. The copy uses the checkout's rules and the program under test."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("bazel-*", "user.bazelrc"))
    for name in "MODULE.bazel", "WORKSPACE":
        file = folder / name
        if file.exists():
            text = re.sub(
                r'path = "((?:\.\./)+[^"]*|\.\.(?:/\.\.)*)"',
                lambda match: f'path = "{(source / match[1]).resolve()}"',
                file.read_text(),
            )
            text = text.replace("/path/to/pylayer", str(program()))
            file.write_text(text.replace("/path/to/launcher", str(launcher())))
    module = folder / "MODULE.bazel"
    if module.exists():
        module.write_text(module.read_text() + PATH_TOOLCHAIN.format(launcher=launcher(), program=program()))
    return folder


@lru_cache
def bazel_version() -> tuple[int, ...]:
    """The version of Bazel, such as (7, 7, 1)."""
    printed = subprocess.check_output([TOOL, "--version"], text=True, timeout=TIMEOUT)
    return tuple(int(number) for number in re.findall(r"[0-9]+", printed)[:3])


def program() -> Path:
    """The `pylayer` program under test."""
    return Path(os.environ["PYLAYER_BIN"]).resolve()


def launcher() -> Path:
    """The launcher of Python binaries under test, not configured."""
    return Path(os.environ["PYLAYER_LAUNCHER"]).resolve()


def run_program(*arguments: str | Path, status: int = 0, environment: dict[str, str] | None = None) -> str:
    """What the `pylayer` program prints."""
    command = [program(), *map(str, arguments)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == status, process.stderr
    return process.stdout
