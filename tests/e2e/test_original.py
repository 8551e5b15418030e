"""The layers of a native `py_binary` have the same contents as those of the original `py_image_layer`.

The binary is the example's service. That of the example itself has symlinks, which the original cannot pack.
`DIFFERENCES` is the complete list of exceptions. Each is a change to the original's listing. Applied in order,
they must result in the listing of this program, and each must have an effect.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pytest

import original
from conftest import BuiltWorkspace
from layers import Entry, Layer

BINARY = "app/native"
LAYERS = "//app:native_layers"

# Targets in the example's package `app`. `BINARY` has the attributes of `//app:web`.
TARGETS = """
load("@rules_python//python:defs.bzl", native_py_binary = "py_binary")

native_{web}

py_image_layer(
    name = "native_layers",
    compress = "",
    layer_groups = LAYER_GROUPS,
    py_binary = ":native",
    root = "/app",
)
"""

# Layers → group → path → entry.
Listing = dict[str, dict[str, Entry]]


@dataclass(frozen=True)
class Context:
    """Facts about the example that the differences need."""

    runfiles: list[original.Runfile]
    root: str


@dataclass(frozen=True)
class Difference:
    """A difference from the original, and its reason."""

    what: str
    why: str
    change: Callable[[Listing, Context], Listing]


def without_sources_of_the_binary(listing: Listing, context: Context) -> Listing:
    beside = f"{context.root}/{PurePosixPath(BINARY).parent}/"
    return {
        group: {path: entry for path, entry in entries.items() if path != f"{beside}main.py"}
        for group, entries in listing.items()
    }


def with_empty_files(listing: Listing, context: Context) -> Listing:
    changed = {group: dict(entries) for group, entries in listing.items()}
    for runfile in context.runfiles:
        if not runfile.content:
            path = f"{context.root}/{BINARY}.runfiles/{runfile.path}"
            changed[group_of_neighbours(path, listing)][path] = Entry(path, "file", 0, EMPTY)
    return changed


def group_of_neighbours(path: str, listing: Listing) -> str:
    """The group with the other files of the same repository, or `default`."""
    runfiles, _, below = path.partition(".runfiles/")
    repository = f"{runfiles}.runfiles/{below.split('/')[0]}/"
    for group, entries in listing.items():
        if any(entry.type == "file" and other.startswith(repository) for other, entry in entries.items()):
            return group
    return "default"


def with_the_folders_of_its_own_files(listing: Listing, context: Context) -> Listing:
    changed = {}
    for group, entries in listing.items():
        files = {path: entry for path, entry in entries.items() if entry.type != "directory"}
        folders = {
            str(parent)
            for path in files
            for parent in PurePosixPath(path).parents
            if parent.is_relative_to(context.root)
        }
        changed[group] = files | {path: Entry(path, "directory") for path in folders}
    return changed


def with_hard_links(listing: Listing, context: Context) -> Listing:
    changed = {}
    for group, entries in listing.items():
        changed[group], first = {}, {}
        for path in sorted(entries, key=str.encode):
            entry = entries[path]
            if entry.size >= 4096 and first.setdefault(entry.sha256, path) != path:
                entry = replace(entry, type="hard link", target="./" + first[entry.sha256])
            changed[group][path] = entry
    return changed


def in_order(listing: Listing, context: Context) -> Listing:
    def key(entry: Entry) -> bytes:
        return (entry.path + "/" * (entry.type == "directory")).encode()

    return {
        group: {entry.path: entry for entry in sorted(entries.values(), key=key)} for group, entries in listing.items()
    }


EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

DIFFERENCES = [
    Difference(
        "The binary's own sources are in its runfiles only, not also beside it.",
        "The launcher runs those in the runfiles. The original packs every output of the target, and those of "
        "a native py_binary include its sources.",
        without_sources_of_the_binary,
    ),
    Difference(
        "The empty __init__.py files, which Bazel makes up for folders with Python files, are in the image.",
        "A program sees them when it runs outside of an image, and may import what they make a package. The "
        "original leaves them out, since no file of the build stands behind them.",
        with_empty_files,
    ),
    Difference(
        "A layer has an entry for each folder, below the root, that its files are in, and for no other.",
        "The original sorts folders into layers by their own paths, apart from what is in them: a layer can have "
        "files without their folders, whose owner and mode are then up to the tool that unpacks it.",
        with_the_folders_of_its_own_files,
    ),
    Difference(
        "Of equal files of 4 KiB or more in a layer, one is stored; the others are hard links to it.",
        "An interpreter comes with several names for one file. The original stores each of them.",
        with_hard_links,
    ),
    Difference(
        "Entries are sorted by their paths, as bytes.",
        "The same files make the same layer, whatever the order in which BUILD files name them.",
        in_order,
    ),
]


@pytest.fixture(scope="module")
def native(example) -> Iterator[BuiltWorkspace]:
    """The example with `TARGETS`, built."""
    build_file = example.folder / "app" / "BUILD.bazel"
    text = build_file.read_text()
    (web,) = re.findall(r"^py_binary\(.*?^\)", text, re.MULTILINE | re.DOTALL)
    build_file.write_text(text + TARGETS.format(web=web.replace('"web"', '"native"')))
    example.build(f"//{BINARY.replace('/', ':')}", LAYERS)
    yield example
    build_file.write_text(text)


@pytest.fixture(scope="module")
def context(native) -> Context:
    """The context of `LAYERS`."""
    manifest = native.folder / f"bazel-bin/{BINARY}.runfiles_manifest"
    return Context(original.read_runfiles_manifest(manifest), "app")


@pytest.fixture(scope="module")
def original_listing(native, context, scratch) -> Listing:
    """The listing of the layers that awk and bsdtar write."""
    outputs = {
        re.sub("^bazel-out/[^/]+/bin/", "", str(path.relative_to(native.folder))): path
        for path in native.files(f"//{BINARY.replace('/', ':')}")
    }
    layers = original.make_layers(
        outputs,
        context.runfiles,
        BINARY,
        # The original prefixes paths with the root unchanged, so the root needs a trailing slash.
        root=f"/{context.root}/",
        groups={"numpy": "pip_deps_numpy.*"},
        folder=scratch / "original",
    )
    return listing({group: Layer(path) for group, path in layers.items()})


@pytest.fixture(scope="module")
def our_listing(native) -> Listing:
    """The listing of this program's layers."""
    return listing(native.layers(LAYERS))


def listing(layers: dict[str, Layer]) -> Listing:
    """The entries of layers, with only the fields that must be equal except for `DIFFERENCES`."""
    return {
        group: {
            entry.path: Entry(entry.path, entry.type, entry.size, entry.sha256, entry.target) for entry in layer.entries
        }
        for group, layer in layers.items()
    }


def states(listing: Listing, context: Context) -> Iterator[Listing]:
    """The original's listing, and the listing after each difference."""
    yield listing
    for difference in DIFFERENCES:
        listing = difference.change(listing, context)
        yield listing


def flat(listing: Listing) -> list[tuple[str, Entry]]:
    """The entries as a list, for comparisons that respect their order."""
    return [(group, entry) for group in sorted(listing) for entry in listing[group].values()]


def test_the_layers_are_the_originals_but_for_the_differences(original_listing, our_listing, context) -> None:
    *_, expected = states(original_listing, context)
    assert sorted(our_listing) == sorted(expected)
    for group, entries in our_listing.items():
        assert list(entries.values()) == list(expected[group].values()), group


@pytest.mark.parametrize("index", range(len(DIFFERENCES)), ids=lambda index: DIFFERENCES[index].what)
def test_the_difference_is_one(index, original_listing, context) -> None:
    before, after = list(states(original_listing, context))[index : index + 2]
    assert flat(before) != flat(after), "the original does the same; take it off the list"


def test_owner_mode_and_time_are_the_originals(original_listing, native, scratch) -> None:
    def about(layer: Layer) -> set[tuple]:
        return {(entry.mode, entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in layer.entries}

    for group, layer in native.layers(LAYERS).items():
        assert (
            about(layer) == about(Layer(scratch / "original" / f"{group}.tar")) == {(0o755, 0, 0, "", "", 1672560000)}
        )
