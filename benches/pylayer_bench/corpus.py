"""Makes the corpus that the benchmarks pack: the runfiles of a Python binary as Bazel lays them out.

112 wheels, CPython 3.11 and an application, some 1.2 GB. The wheels are those of corpus.lock, fetched by pip and
checked by their hashes, so every machine has the same; the interpreter is the machine's `python3.11`. pip's own
settings (PIP_INDEX_URL, PIP_FIND_LINKS, …) say where wheels come from.
"""

import functools
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from pylayer_bench.console import check
from pylayer_bench.paths import REPOSITORY, cache_folder

LOCK = REPOSITORY / "benches/corpus.lock"
BINARY = "app/app_bin"
RUNFILES = f"{BINARY}.runfiles"
# The repositories of rules_python, with the names that Bazel 7 gives them.
INTERPRETER = "rules_python~~python~python_3_11_x86_64-unknown-linux-gnu"
WHEEL = "rules_python~~pip~pip_deps_311_{}"

# Those of the wheels in corpus.lock. pip takes the only file of a version that has the right hash.
PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 12, 5)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "manylinux2014_aarch64", "any"),
]

APPLICATION_FILES = 855
WORDS = """
user order item price total cache index value result query token batch worker queue handler config model
schema route event stream record filter merge
""".split()


def make_corpus(folder: Path | None = None) -> Path:
    """Makes the corpus in `folder`, or in a cache folder named after its recipe, unless it is there. Returns it."""
    if not folder:
        recipe = Path(__file__).read_bytes() + LOCK.read_bytes() + interpreter()["version"].encode()
        folder = cache_folder() / f"corpus-{hashlib.sha256(recipe).hexdigest()[:12]}"
    folder = folder.resolve()
    if not (folder / "app").is_dir():
        # Renamed when it is complete, so that an interrupted build is not taken for one.
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_application(unfinished / RUNFILES / "_main", APPLICATION_FILES)
        fetch_wheels(unfinished / "wheels")
        for wheel in sorted((unfinished / "wheels").iterdir()):
            unpack_wheel(wheel, unfinished / RUNFILES)
        copy_interpreter(unfinished / RUNFILES / INTERPRETER)
        write_launchers(unfinished)
        unfinished.rename(folder)
    return folder


def make_tiny_corpus(folder: Path) -> Path:
    """Makes a corpus of generated files in the same places: some 1 MB, without network. Returns `folder`."""
    runfiles = folder / RUNFILES
    write_application(runfiles / "_main", 40)
    # In place of each wheel a few small modules and one file that does not compress.
    chance = random.Random(7)
    for number in range(6):
        package = runfiles / WHEEL.format(f"wheel_{number}") / "site-packages" / f"wheel_{number}"
        write_application(package, 20 + 5 * number)
        (package / "core.so").write_bytes(chance.randbytes(40_000))
        (package / "table").write_bytes(bytes(chance.choices(b"pylayer", k=100_000)))
        write_wheel(package, folder / "wheels" / f"{package.name}-1.0-py3-none-any.whl")
    python = runfiles / INTERPRETER / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.write_bytes(b"\x7fELF" + chance.randbytes(20_000))
    (python.parent / "python3").symlink_to(python.name)
    write_launchers(folder)
    return folder


def write_wheel(package: Path, wheel: Path) -> None:
    wheel.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.*")):
            archive.write(file, file.relative_to(package.parent))
        archive.write(package / "table", f"{package.name}/table")


def write_launchers(folder: Path) -> None:
    for launcher in (folder / BINARY, folder / RUNFILES / "_main" / BINARY):
        launcher.parent.mkdir(parents=True, exist_ok=True)
        launcher.write_text("#!/usr/bin/env python3\nimport runpy\n")
        launcher.chmod(0o755)


@functools.cache
def interpreter() -> dict[str, str]:
    """Where the machine's CPython 3.11 keeps its files."""
    program = shutil.which("python3.11")
    check(program is not None, "python3.11, of which the corpus has a copy, is not on PATH")
    question = """if True:
        import json, platform, sys, sysconfig
        paths = {name: sysconfig.get_path(name) for name in ("stdlib", "include")}
        library = f"{sysconfig.get_config_var('LIBDIR')}/{sysconfig.get_config_var('INSTSONAME')}"
        print(json.dumps({**paths, "library": library, "prefix": sys.base_prefix,
                          "version": platform.python_version()}))
    """
    return json.loads(subprocess.run([program, "-I", "-c", question], check=True, stdout=subprocess.PIPE).stdout)


def fetch_wheels(folder: Path) -> None:
    options = [f"--platform={platform}" for platform in PLATFORMS]
    options += [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *options]
    subprocess.run([*command, "--requirement", LOCK, "--dest", folder], check=True, stdout=sys.stderr)


def unpack_wheel(wheel: Path, runfiles: Path) -> None:
    """Unpacks as pip installs: what is below `<name>.data/purelib` or `platlib` belongs to the top."""
    name = re.sub(r"[-_.]+", "_", wheel.name.split("-")[0]).lower()
    site_packages = runfiles / WHEEL.format(name) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            path = site_packages / re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", member.filename)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            path.chmod(0o755 if member.external_attr >> 16 & 0o111 else 0o644)


def copy_interpreter(target: Path) -> None:
    """Copies the parts of an installation that a hermetic interpreter has too, without packages installed later."""
    parts = interpreter()
    prefix = Path(parts["prefix"])

    def copy(source: Path) -> None:
        if not source.is_symlink() and not source.exists():
            return
        # A library of Debian lies outside the prefix's lib.
        place = target / (source.relative_to(prefix) if source.is_relative_to(prefix) else f"lib/{source.name}")
        if source.is_dir():
            # ensurepip/_bundled holds wheels only, which no layer takes.
            ignored = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages", "_bundled")
            shutil.copytree(source, place, symlinks=True, ignore=ignored)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)

    for part in ("stdlib", "include", "library"):
        copy(Path(parts[part]))
    for name in ("bin/python3.11", "bin/python3", "lib/libpython3.11.so", "lib/libpython3.so"):
        copy(prefix / name)


def write_application(folder: Path, files: int) -> None:
    """Writes modules of some 700 bytes, the same on every machine."""
    chance = random.Random(42)

    def name() -> str:
        return "_".join(chance.choice(WORDS) for _ in range(chance.randint(1, 3)))

    for number in range(files):
        path = folder / "services" / chance.choice(WORDS) / chance.choice(WORDS) / f"{name()}_{number}.py"
        lines = [f'"""{name()} module."""', "import logging", "", "log = logging.getLogger(__name__)", ""]
        for _ in range(chance.randint(1, 4)):
            function, number, text = name(), name(), name()
            lines += [
                f"def {function}({number}: int, {text}: str) -> dict:",
                f"    if {number} > {chance.randint(0, 9999)}:",
                f"        log.warning('{function} %s %d', {text}, {number})",
                f"    return {{'{name()}': {number} * {chance.randint(2, 99)}, '{name()}': {text}}}",
                "",
            ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
