"""Every build proves its layers right; what is wrong is named, with the way out."""

import pytest

from bazel import Result

SRV = "srv/faults/binary_{0}.runfiles/_main/faults"
LINK = f"{SRV}/{{0}}/link in layer default is a symlink to "
LINK_ADVICE = "; add the target to the binary's data, or exclude the link"

# Targets of `//faults` → the lines that say what is wrong.
FAULTS = {
    "dangling": [LINK + "nowhere.txt, which is not in the image" + LINK_ADVICE],
    "out_of_the_image": [LINK + "../../../../../../../etc/passwd, which leads out of the image" + LINK_ADVICE],
    "through_a_file": [
        LINK
        + "../binary_through_a_file/nowhere.txt, which leads through a file as if it were a directory"
        + LINK_ADVICE
    ],
    "circle": [
        f"{SRV}/circle/another in layer default is a symlink to one, which leads in a circle" + LINK_ADVICE,
        f"{SRV}/circle/one in layer default is a symlink to another, which leads in a circle" + LINK_ADVICE,
    ],
    "excluded": [LINK + "../../at_root.txt, which is not in the image" + LINK_ADVICE],
    "dropped": [f"{SRV}/dropped/python3 in layer default is a symlink to ../../../"],
    "foreign": [
        f"{SRV}/foreign.so in layer default is made for aarch64, the image for x86_64; build the binary for the "
        "image's platform (attribute platform), and check that its wheels are selected by platform"
    ],
    "place_in_two_layers": [
        "srv/faults/binary_place.runfiles/_main/faults/place is a file or link in layer default and a directory "
        "elsewhere; exclude one of them"
    ],
}

# What makes a layer impossible, so that its own action fails.
IMPOSSIBLE = {
    "place_in_one_layer": "srv/faults/binary_place.runfiles/_main/faults/place is both a file and a directory "
    "(srv/faults/binary_place.runfiles/_main/faults/place/note.txt is inside it); exclude one of them",
    "whiteout": f'image path "{SRV.format("whiteout")}/.wh.note.txt": names that begin with `.wh.` delete files in a '
    "container image (OCI image-spec, layer.md) and cannot be shipped; rename or exclude it",
}

# The same binaries with what the messages advise; and a link that is left to the base image.
MENDED = ["absolute", "foreign_mended", "place_mended", "whiteout_mended"]

WARNING_OF_LIB = (
    'pylayer: layer "default" holds ./lib/tool/; in most base images that top-level directory is a symlink, which '
    'some tools replace by a directory. Set root = "/app" or the like'
)


@pytest.fixture(scope="module")
def attempt(runfiles) -> Result:
    """A build of everything that is wrong."""
    return runfiles.build("--keep_going", *(f"//faults:{name}" for name in [*FAULTS, *IMPOSSIBLE]), check=False)


def reported(log: str, action: str) -> list[str]:
    """What the program said when `action` failed."""
    _, found, rest = log.partition(f"{action} failed: ")
    assert found, f"{action} has not failed:\n{log}"
    lines = rest.partition("\npylayer: ")[2].splitlines()
    end = next((n for n, line in enumerate(lines) if n and not line.startswith("  ")), len(lines))
    return lines[:end]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(fault, attempt) -> None:
    headline, *lines = reported(attempt.log, f"Validating image layers //faults:{fault}")
    assert headline == (
        'the layers are not what the binary asks for (attribute validation: "warn" to build all the same)'
    )
    assert len(lines) == len(FAULTS[fault])
    for line, expected in zip(lines, FAULTS[fault], strict=True):
        assert line.startswith("  " + expected.format(fault))


@pytest.mark.parametrize("fault", IMPOSSIBLE)
def test_an_impossible_layer_is_refused(fault, attempt) -> None:
    action = f"/bin/faults/{fault}_default.tar"
    assert reported(attempt.log, action) == [IMPOSSIBLE[fault]]


def test_the_advice_helps(runfiles) -> None:
    runfiles.build(*(f"//faults:{name}" for name in MENDED))
    for name in MENDED:
        assert (runfiles.folder / f"bazel-bin/faults/{name}.validation").read_text() == ""
    paths = [path for layer in runfiles.layers("//faults:whiteout_mended").values() for path in layer.paths]
    assert "srv/faults/binary_whiteout" in paths
    assert not [path for path in paths if ".wh." in path]


def test_a_warning_is_printed_and_the_layers_are_built(runfiles) -> None:
    result = runfiles.build("//faults:dangling_warn")
    message = FAULTS["dangling"][0].format("dangling")
    assert f"INFO: From Validating image layers //faults:dangling_warn:\npylayer: {message}\n" in result.log
    assert all(file.exists() for file in runfiles.files("//faults:dangling_warn"))
    assert (runfiles.folder / "bazel-bin/faults/dangling_warn.validation").read_text() == f"{message}\n"


def test_nothing_is_validated_where_that_is_off(runfiles) -> None:
    result = runfiles.build("//faults:dangling_off")
    assert "pylayer: " not in result.log
    assert not (runfiles.folder / "bazel-bin/faults/dangling_off.validation").exists()
    assert all(file.exists() for file in runfiles.files("//faults:dangling_off"))


def test_a_folder_that_hides_one_of_the_base_image_causes_a_warning(runfiles) -> None:
    assert WARNING_OF_LIB in runfiles.build("//lib/tool:at_the_images_root").log
    assert "pylayer: " not in runfiles.build("//lib/tool:below_a_root").log


@pytest.mark.parametrize("target", ["layers", "layers_zstd", "layers_tar", "layers_srv"])
def test_a_plain_build_validates_the_example(target, example) -> None:
    assert (example.folder / f"bazel-bin/app/{target}.validation").read_text() == ""


@pytest.mark.parametrize("target", ["//app:layers", "//app:layers_default", "//app:layers_interpreter"])
def test_building_one_layer_validates_all(target, example) -> None:
    example.build("//app:layers")
    (example.folder / "bazel-bin/app/layers.validation").unlink()
    assert [spawn.mnemonic for spawn in example.spawns(target)] == ["PyImageLayerValidation"]
