#!/usr/bin/env python3
"""Builds the program and the launcher as they are released: the same source and compilers give the same bytes, wherever
the source is.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PRIVATE = Path(__file__).resolve().parent

# Bazel's names for platforms, and Rust's.
TARGETS = {
    "linux-aarch64": "aarch64-unknown-linux-gnu",
    "linux-x86_64": "x86_64-unknown-linux-gnu",
    "macos-aarch64": "aarch64-apple-darwin",
    "macos-x86_64": "x86_64-apple-darwin",
}

# The variables that compilers see: what finds and downloads, but nothing that changes a program.
ENVIRONMENT = re.compile(
    r"""
    PATH | HOME | USER | TMPDIR | TERM | XDG_CACHE_HOME | PYLAYER_\w+ | SSL_\w+ | (?i:(https?|no|all)_proxy)
    | CARGO_HOME | CARGO_(HTTP|NET|REGISTRIES)_\w+ | RUSTUP_\w+ | DEVELOPER_DIR | SDKROOT
    """,
    re.VERBOSE,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("platform", choices=TARGETS, help="Bazel's name of the platform")
    parser.add_argument("--program", type=Path, metavar="FILE", help="write the program to FILE")
    parser.add_argument("--launcher", type=Path, metavar="FILE", help="write the launcher, not configured, to FILE")
    parser.add_argument("--tree", type=Path, default=PRIVATE.parent.parent, help="the source; default: this checkout")
    parser.add_argument("--target-dir", type=Path, help="cargo's folder; default: target/programs in the tree")
    arguments = parser.parse_args()
    target = TARGETS[arguments.platform]
    tree = arguments.tree.resolve()
    target_dir = arguments.target_dir or tree / "target/programs"
    environment = compilers(arguments.platform)
    try:
        if arguments.program:
            build_program(tree, target_dir.absolute(), target, environment)
            copy(target_dir / target / "release/pylayer", arguments.program)
        if arguments.launcher:
            command = [tree / "crates/launcher/build", "--target", target, arguments.launcher.absolute()]
            subprocess.run(command, cwd=tree, env=environment, check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def build_program(tree: Path, target_dir: Path, target: str, environment: dict[str, str]) -> None:
    """Runs cargo, in the tree: it searches for .cargo/config.toml from there on."""
    subprocess.run(["cargo", "fetch", "--locked", f"--target={target}"], cwd=tree, env=environment, check=True)
    # Panics and assertions contain the paths of source files, which must not be those of this machine. Those in the
    # tree are relative.
    prefixes = {target_dir: "/target"} | {folder: "/cargo" for folder in registries()}
    flags = [f"--remap-path-prefix={path}={to}" for path, to in prefixes.items()]
    c_flags = " ".join(f"-ffile-prefix-map={path}={to}" for path, to in prefixes.items())
    subprocess.run(
        [
            *("cargo", "build", "--release", "--locked", "--bin=pylayer", f"--target={target}"),
            *(f"--target-dir={target_dir}", f"--config=target.{target}.rustflags={json.dumps(flags)}"),
        ],
        cwd=tree,
        env=environment | {f"CFLAGS_{target.replace('-', '_')}": c_flags},
        check=True,
    )


def registries() -> list[Path]:
    """The folders with the source of crates."""
    return sorted((cargo_home() / "registry/src").iterdir())


def cargo_home() -> Path:
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").resolve()


def compilers(platform: str) -> dict[str, str]:
    """The environment in which cargo and rustc build for a platform."""
    environment = {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)}
    if platform != "linux-aarch64":
        return environment
    process = subprocess.run([PRIVATE / "aarch64.sh"], env=environment, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        sys.exit(process.returncode)  # it has said why
    return environment | dict(line.split("=", 1) for line in process.stdout.splitlines())


def copy(source: Path, file: Path) -> None:
    """Replaces a file that may be running."""
    file.unlink(missing_ok=True)
    shutil.copyfile(source, file)
    file.chmod(0o755)


if __name__ == "__main__":
    main()
