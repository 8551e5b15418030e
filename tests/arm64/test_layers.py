"""A layer has the same bytes on x86_64 and on aarch64, with every codec at every level."""

import ast
import os
import re

import pytest

from bazel import CHECKOUT
from corpus import Outputs
from programs import PROCESSORS, both

# Compressing at levels above these takes too long for the large corpus.
HIGHEST_LEVELS = {"gzip": 7, "zstd": 12}

OPTIONS = {
    "no dedupe": {"dedupe": False},
    "owner": {"metadata": {"uid": 1000, "gid": 4_000_000, "uname": "nobody", "gname": "grüppe"}},
    "mtime": {"metadata": {"mtime": 10_000_000_000}},
    "modes by content": {"metadata": {"mode": "detect"}},
    "exclude": {"exclude": ["/package/[0-9]*[05]\\.py$", "limits/", "\\.so$"]},
    "everything": {
        "dedupe": False,
        "exclude": ["^\\./app/names/n"],
        "metadata": {"uid": 7, "gid": 8, "uname": "user", "gname": "group", "mtime": 0, "mode": "0640"},
    },
}
GROUPS = {
    "layer_groups": [{"name": "packages", "pattern": "/package/"}, {"name": "noise", "pattern": "noise\\.bin$"}],
    "split": [{"group": "packages", "layers": 3}],
    "runfiles": "app",
    "distributions": {str(number): f"distribution-{number}" for number in range(8)},
}


def codecs() -> list[dict]:
    """The codecs that the rules and the program know."""
    tables = ast.parse((CHECKOUT / "bazel" / "private" / "tables.bzl").read_text())
    (rows,) = [node.value for node in tables.body if isinstance(node, ast.Assign) and node.targets[0].id == "CODECS"]
    return ast.literal_eval(rows)


def codecs_and_levels() -> list[tuple[str, int | None]]:
    """Every codec at every level."""
    found = []
    for codec in codecs():
        levels = codec.get("levels")
        numbers = range(levels["lowest"], levels["highest"] + 1) if levels else [None]
        found += [(codec["name"], level) for level in numbers]
    return found


def corpus_for(codec: str, level: int | None) -> str:
    """The name of the largest corpus that can be compressed quickly enough."""
    return "large" if level is None or level <= HIGHEST_LEVELS[codec] else "small"


def pack_by_both(corpus, folders, settings, environment=None, **action) -> tuple[Outputs, Outputs]:
    """The outputs of the same action by the program for x86_64 and by that for aarch64."""
    x86_64, aarch64 = both()
    return (
        corpus.pack(x86_64, folders[0], settings, **action),
        corpus.pack(aarch64, folders[1], settings, environment=environment, **action),
    )


@pytest.mark.parametrize("codec, level", codecs_and_levels())
def test_with_every_codec_and_level(codec, level, corpora, layer_folders) -> None:
    settings = {"compress": codec} if level is None else {"compress": codec, "level": level}
    x86_64, aarch64 = pack_by_both(corpora[corpus_for(codec, level)], layer_folders, settings)
    assert aarch64 == x86_64


@pytest.mark.parametrize("codec", [codec["name"] for codec in codecs()])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_with_options(options, codec, corpora, layer_folders) -> None:
    x86_64, aarch64 = pack_by_both(corpora["small"], layer_folders, {"compress": codec, **options})
    assert aarch64 == x86_64


@pytest.mark.parametrize("layer", ["default", "noise", "packages_1", "packages_2", "packages_3"])
def test_of_each_layer_of_an_image(layer, corpora, layer_folders) -> None:
    x86_64, aarch64 = pack_by_both(corpora["large"], layer_folders, {}, groups=GROUPS, layer=layer)
    assert aarch64 == x86_64


# The hardware of an aarch64 machine is not chosen.
@pytest.mark.parametrize("codec", [codec["name"] for codec in codecs()])
@pytest.mark.parametrize("processor", PROCESSORS if os.environ["QEMU_AARCH64"] else [""])
def test_on_every_processor(processor, codec, corpora, layer_folders) -> None:
    environment = {"QEMU_CPU": processor} if processor else {}
    x86_64, aarch64 = pack_by_both(corpora["small"], layer_folders, {"compress": codec}, environment)
    assert aarch64 == x86_64


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"], ids=["gzip", "zstd"])
def test_the_corpora_have_several_chunks(magic, request, corpora, folder) -> None:
    for corpus in corpora.values():
        corpus.pack(both()[0], folder, {"compress": request.node.callspec.id})
        # In one of a thousand layers, there would be another by chance.
        chunks = (folder / "layer").read_bytes().count(magic)
        assert chunks > 2


def test_the_documentation_lists_what_is_compared() -> None:
    text = (CHECKOUT / "docs" / "dev" / "aarch64.md").read_text()
    listed, row = [], r"^\| (\w+) \| ([0-9]+ to [0-9]+|none) \| (\w+) \| yes \| yes \| yes \|$"
    for codec, levels, corpus in re.findall(row, text, re.MULTILINE):
        lowest, _, highest = levels.partition(" to ")
        numbers = [None] if levels == "none" else range(int(lowest), int(highest) + 1)
        listed += [(codec, level, corpus) for level in numbers]
    compared = [(codec, level, corpus_for(codec, level)) for codec, level in codecs_and_levels()]
    assert sorted(listed, key=str) == sorted(compared, key=str)
