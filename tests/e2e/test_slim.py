"""The patterns for slim images exclude nothing else, and the example's service starts from slim layers."""

import json
import subprocess
import tarfile

import pytest

from bazel import TIMEOUT
from containers import umoci_unpack
from layers import Layer
from machine import base_layer, in_root
from oci import write_image
from service import check_report, constant_part, free_port, get, running
from test_runfiles import plain

# Constants → the files that they exclude from the interpreter, relative to its folder.
TAKEN = {
    "INTERPRETER_HEADERS": {"include/python3.12/Python.h"},
    "INTERPRETER_STATIC_LIBRARIES": {
        "lib/libpython3.12.a",
        "lib/pkgconfig/python-3.12.pc",
        "lib/python3.12/config-3.12-x86_64-linux-gnu/Makefile",
    },
    "INTERPRETER_TESTS": {
        "lib/python3.12/ctypes/test/test_arrays.py",
        "lib/python3.12/idlelib/idle_test/test_run.py",
        "lib/python3.12/lib2to3/tests/test_main.py",
        "lib/python3.12/test/test_os.py",
    },
    "INTERPRETER_DESKTOP": {
        "lib/python3.12/idlelib/idle_test/test_run.py",
        "lib/python3.12/idlelib/run.py",
        "lib/python3.12/pydoc_data/topics.py",
        "lib/python3.12/turtle.py",
        "lib/python3.12/turtledemo/clock.py",
        "share/man/man1/python3.12.1",
    },
    "INTERPRETER_INSTALLERS": {
        "lib/python3.12/ensurepip/__init__.py",
        "lib/python3.12/site-packages/_distutils_hack/__init__.py",
        # Imports _distutils_hack whenever Python starts.
        "lib/python3.12/site-packages/distutils-precedence.pth",
        "lib/python3.12/site-packages/pip-24.0.dist-info/METADATA",
        "lib/python3.12/site-packages/pip/__init__.py",
        "lib/python3.12/site-packages/pkg_resources/__init__.py",
        "lib/python3.12/site-packages/setuptools/__init__.py",
    },
    "PYCACHE": {"lib/python3.12/__pycache__/os.cpython-312.pyc"},
}
TAKEN["SLIM_INTERPRETER"] = set().union(*TAKEN.values())

# Constants → the files that they exclude from packages.
TAKEN_FROM_PACKAGES = {
    "PYCACHE": {"pip_deps_slim/site-packages/slim/__pycache__/core.cpython-312.pyc"},
    "SLIM_INTERPRETER": {"pip_deps_slim/site-packages/slim/__pycache__/core.cpython-312.pyc"},
}

# Targets in the example's package `app`.
TARGETS = """
load("@rules_pylayer//bazel:defs.bzl", "SLIM_INTERPRETER")

py_image_layer(
    name = "slim",
    exclude = SLIM_INTERPRETER,
    layer_groups = LAYER_GROUPS,
    mode = "detect",
    py_binary = ":web",
    root = "/app",
)

py_image_layer(
    name = "without_interpreter",
    compress = "",
    layer_groups = dict(LAYER_GROUPS, interpreter = None),
    py_binary = ":web",
    root = "/app",
)

py_image_layer(
    name = "copies",
    compress = "",
    dedupe = False,
    layer_groups = LAYER_GROUPS,
    py_binary = ":web",
    root = "/app",
)
"""

SERVICE = "/app/app/web"


@pytest.mark.parametrize("constant", TAKEN)
def test_a_constant_excludes_exactly_its_files(constant, runfiles) -> None:
    everything, rest = (
        {plain(path).partition(".runfiles/")[2] for layer in runfiles.layers(target).values() for path in layer.paths}
        for target in ("//slim:NOTHING", f"//slim:{constant}")
    )
    interpreter = "python_3_12_x86_64-unknown-linux-gnu"
    taken = {f"{interpreter}/{path}" for path in TAKEN[constant]} | TAKEN_FROM_PACKAGES.get(constant, set())
    assert everything - rest == taken
    assert rest <= everything


@pytest.fixture(scope="module")
def slimmed(example):
    """The example with `TARGETS`, built."""
    build_file = example.folder / "app" / "BUILD.bazel"
    text = build_file.read_text()
    build_file.write_text(text + TARGETS)
    example.build("//app:slim", "//app:without_interpreter", "//app:copies")
    yield example
    build_file.write_text(text)


def contents(layer: Layer) -> dict[str, str]:
    """The content of each path of a layer."""
    return {entry.path: entry.sha256 or entry.target for entry in layer.entries if entry.type != "directory"}


def test_the_slim_interpreter_is_the_interpreter_with_less(slimmed) -> None:
    slim, whole = (slimmed.layers(f"//app:{name}")["interpreter"] for name in ("slim", "layers"))
    assert contents(slim).items() < contents(whole).items()
    assert len(slim.blob) < len(whole.blob)
    for needed in "/bin/python3", "/os.py", "/encodings/utf_8.py", "/unittest/case.py":
        assert [path for path in slim.paths if path.endswith(needed)], needed


def test_slimming_leaves_other_layers_as_they_are(slimmed) -> None:
    slim, whole = (slimmed.layers(f"//app:{name}") for name in ("slim", "layers"))
    assert list(slim) == list(whole)
    for group in slim.keys() - {"interpreter"}:
        assert contents(slim[group]) == contents(whole[group])


def test_detected_modes_are_those_of_programs_and_other_files(slimmed) -> None:
    for layer in slimmed.layers("//app:slim").values():
        with tarfile.open(layer.path) as tar:
            for member in (member for member in tar if member.isreg()):
                magic = tar.extractfile(member).read(4)
                program = magic == b"\x7fELF" or magic.startswith(b"#!")
                assert member.mode == (0o755 if program else 0o644), member.name


@pytest.mark.usefixtures("as_root")
def test_the_service_starts_from_slim_layers(slimmed, folder) -> None:
    output = subprocess.check_output([slimmed.folder / "bazel-bin/app/web", "--self-check"], timeout=TIMEOUT)
    image = write_image(folder / "image", list(slimmed.layers("//app:slim").values()))
    root = umoci_unpack(image, folder / "bundle")
    subprocess.run(["tar", "-xf", base_layer(root, folder / "base.tar"), "-C", root], check=True)

    port, log = free_port(), folder / "log"
    with running(in_root(root, [SERVICE], {"PORT": str(port)}), log) as process:
        check_report(get("report", port, process, log), constant_part(json.loads(output)), SERVICE)


def test_without_the_interpreter_the_other_layers_are_the_same(slimmed) -> None:
    without, whole = (slimmed.layers(f"//app:{name}") for name in ("without_interpreter", "layers_tar"))
    assert list(whole) == ["interpreter", *without]
    assert {group: layer.digest for group, layer in without.items()} == {
        group: layer.digest for group, layer in whole.items() if group != "interpreter"
    }
    assert (slimmed.folder / "bazel-bin/app/without_interpreter.validation").read_text() == ""


def test_equal_files_are_stored_once_or_as_copies(slimmed) -> None:
    copies, whole = (slimmed.layers(f"//app:{name}")["interpreter"] for name in ("copies", "layers_tar"))
    assert contents(copies) == contents(whole)
    assert "hard link" in {entry.type for entry in whole.entries}
    assert "hard link" not in {entry.type for entry in copies.entries}
    saved = sum(entry.size for entry in whole.entries if entry.type == "hard link")
    assert len(copies.tar) - len(whole.tar) >= saved > 0
