"""Writes the layers of the original `py_image_layer`, which divides a manifest with awk and packs with bsdtar.

Written from the original's description, independently of the rules and the program of this checkout:

  * a manifest in bsdtar's mtree format, with the files of the binary at their paths in the workspace, and its
    runfiles below `<binary>.runfiles`. Each follows its parent folders. All have mode 0755, owner 0:0 and
    the same time. Characters other than graphic ASCII are octal escapes;
  * an awk program that drops wheels, prefixes each path with the root, and writes each line to the manifest
    of the first group whose pattern matches the path, or of `default`;
  * bsdtar, which packs the files in each manifest.

The default patterns are those of later releases. The first release's were never applied (its list of groups
omitted them), and could not match repository names with bzlmod.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bazel import TIMEOUT

DEFAULT_GROUPS = {
    "interpreter": r"\\.runfiles/[^/]*python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*/",
    "packages": r"\\.runfiles/.*/site-packages",
}

COMMON = "uid=0 gid=0 time=1672560000 mode=0755"


@dataclass(frozen=True)
class Runfile:
    """A runfile: its path in the runfiles, and the path of its content on the machine."""

    path: str
    content: Path | None  # None for the empty `__init__.py` files that Bazel adds


def read_runfiles_manifest(manifest: Path) -> list[Runfile]:
    """Reads Bazel's runfiles manifest of a binary."""
    runfiles = []
    for line in manifest.read_text().splitlines():
        escaped = line.startswith(" ")
        path, _, content = line.removeprefix(" ").partition(" ")
        if escaped:
            path = path.replace(r"\s", " ").replace(r"\n", "\n").replace(r"\b", "\\")
        runfiles.append(Runfile(path, Path(content) if content else None))
    return runfiles


def make_layers(
    files: dict[str, Path], runfiles: list[Runfile], binary: str, root: str, groups: dict[str, str], folder: Path
) -> dict[str, Path]:
    """Writes the layers of a binary and returns them by group.

    `files` are the outputs of the target `binary`, by their paths in the workspace. The patterns of
    `groups` are escaped as in awk strings.
    """
    folder.mkdir()
    groups = {**groups, **DEFAULT_GROUPS}
    entries = {**files}
    # The empty files do not exist on disk, so the original does not see them.
    entries |= {f"{binary}.runfiles/{file.path}": file.content for file in runfiles if file.content}
    manifest = folder / "manifest"
    manifest.write_text("\n".join(_manifest_lines(entries)) + "\n")
    awk_program = folder / "divide.awk"
    awk_program.write_text(_awk_program(root, groups))
    _run(["awk", "-v", f"folder={folder}", "-f", awk_program, manifest])
    layers = {}
    for group in [*groups, "default"]:
        layers[group] = folder / f"{group}.tar"
        _run(["bsdtar", "--create", "--file", layers[group], f"@{folder / group}.spec"])
    return layers


def _manifest_lines(entries: dict[str, Path]) -> list[str]:
    lines = {}
    for path, content in entries.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            # bsdtar treats a name without a slash as relative to the preceding folder.
            lines[f"{_escape(folder)}{'/' if depth == 1 else ''} {COMMON} type=dir"] = None
        lines[f"{_escape(path)} {COMMON} type=file content={_escape(str(content.resolve()))}"] = None
    return list(lines)


def _escape(path: str) -> str:
    return "".join(chr(byte) if 33 <= byte <= 126 and byte != 92 else f"\\{byte:03o}" for byte in path.encode())


def _awk_program(root: str, groups: dict[str, str]) -> str:
    tests = "\n".join(
        f'  if ($1 ~ "{pattern}") {{ print $0 >> (folder "/{group}.spec"); next }}' for group, pattern in groups.items()
    )
    headers = "\n".join(f'  print "#mtree" >> (folder "/{group}.spec")' for group in [*groups, "default"])
    return f"""\
BEGIN {{
{headers}
}}
{{
  if ($1 ~ "\\\\.whl$") next
  sub(/^/, ".{root}")
{tests}
  print $0 >> (folder "/default.spec")
}}
"""


def _run(command: list[str | Path]) -> None:
    # In other locales, bsdtar cannot write non-ASCII names.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0 and not process.stderr, f"{command}:\n{process.stderr}"
