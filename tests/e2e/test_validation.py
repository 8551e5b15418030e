"""Every build validates its layers. Messages say what is wrong, and how to fix it."""

import re

import pytest

from bazel import Result

SRV = "srv/faults/binary_{0}.runfiles/_main/faults"
LINK = f"{SRV}/{{0}}/link"
TO_NOTHING = "symlink to a path that is not in the image"
IN_A_CIRCLE = "symlink loop, or a chain of more than 40 symlinks"
ADVICE = {
    TO_NOTHING: "add the target to the binary's data, or exclude the symlink",
    IN_A_CIRCLE: "correct the rule that creates the symlink, or exclude it",
}

# Targets of `//faults` → the problem, and the paths.
FAULTS = {
    "dangling": (TO_NOTHING, [LINK + " -> nowhere.txt (layer default)"]),
    "out_of_the_image": (
        "symlink that points outside the image",
        [LINK + " -> ../../../../../../../etc/passwd (layer default)"],
    ),
    "through_a_file": (
        "symlink that uses a file as a directory",
        [LINK + " -> ../binary_through_a_file/nowhere.txt (layer default)"],
    ),
    "circle": (
        IN_A_CIRCLE,
        [
            f"{SRV}/circle/another -> one (layer default)",
            f"{SRV}/circle/one -> another (layer default)",
        ],
    ),
    "foreign": (
        "file for another processor than x86_64, the image's",
        [f"{SRV}/foreign.so is for aarch64 (layer default)"],
    ),
    "place_in_two_layers": (
        "file or symlink in one layer, directory in another",
        ["srv/faults/binary_place.runfiles/_main/faults/place (layer default)"],
    ),
    "many": (
        TO_NOTHING,
        [f"{SRV}/many/{number} -> nowhere/{'x' * 100} (layer default)" for number in range(100, 400)],
    ),
}

# The number of paths that a message lists per problem.
NAMED = 5

# Faults for which a layer's own action fails.
IMPOSSIBLE = {
    "place_in_one_layer": "srv/faults/binary_place.runfiles/_main/faults/place is both a file and a directory "
    "(srv/faults/binary_place.runfiles/_main/faults/place/note.txt is inside it); exclude one of them",
    "whiteout": f'image path "{SRV.format("whiteout")}/.wh.note.txt": names that begin with `.wh.` delete files in a '
    "container image (OCI image-spec, layer.md) and cannot be shipped; rename or exclude it",
}

# The same binaries, fixed as the messages advise; a link into the base image; links to excluded paths; and code
# for a GPU.
SOUND = [
    "absolute",
    "dropped",
    "excluded",
    "foreign_mended",
    "gpu",
    "place_mended",
    "source_directory_mended",
    "whiteout_mended",
]

# Targets with exceptions for their problems.
ACCEPTED = ["dangling_accepted", "foreign_accepted", "place_accepted"]

SOURCE_DIRECTORY = (
    "faults/directory is a source directory, whose files Bazel does not track; in data, list the files instead of "
    'the directory: glob(["directory/**"])'
)

WARNING_OF_LIB = (
    'pylayer: layer "default" contains ./lib/tool/; in most base images that top-level directory is a symlink, which '
    'some tools replace with a directory. Set root to "/app", for example; the same applies to runfiles_root'
)


@pytest.fixture(scope="module")
def attempt(runfiles) -> Result:
    """The result of building all faulty targets."""
    return runfiles.build("--keep_going", *(f"//faults:{name}" for name in [*FAULTS, *IMPOSSIBLE]), check=False)


def reported(log: str, action: str) -> list[str]:
    """The program's message when `action` failed."""
    _, found, rest = log.partition(f"{action} failed: ")
    assert found, f"{action} has not failed:\n{log}"
    lines = rest.partition("\npylayer: ")[2].splitlines()
    end = next((n for n, line in enumerate(lines) if n and not line.startswith("  ")), len(lines))
    return lines[:end]


def build_again(workspace, package: str, target: str) -> Result:
    """Builds a target that another test may have built, in which case Bazel would not repeat the warnings."""
    for output in (workspace.folder / "bazel-bin" / package).glob(f"{target}[._]*"):
        if output.is_file():
            output.unlink()
    return workspace.build(f"//{package}:{target}")


def report(workspace, fault: str) -> list[str]:
    """The report of a target of `//faults`."""
    return (workspace.folder / f"bazel-bin/faults/{fault}.validation").read_text().splitlines()


def expected_report(fault: str) -> list[str]:
    """The expected report of a faulty target."""
    title, places = FAULTS[fault]
    return [f"{title}: {place.format(fault)}" for place in places]


def check_message(fault: str, headline: str, lines: list[str]) -> None:
    """Compares the message about a faulty target with its problems."""
    title, places = FAULTS[fault]
    count = len(places)
    assert re.fullmatch(
        rf"validation found {count} problems? in the image's layers, listed in bazel-out/[^/]+/bin/faults/\S+\.validation",
        headline,
    )
    summary, *named = lines
    assert summary.startswith(f"  {title} ({count}): ")
    assert summary.endswith(ADVICE.get(title, ""))
    more = [f"    … and {count - NAMED} more"] if count > NAMED else []
    assert named == ["    " + place.format(fault) for place in places[:NAMED]] + more


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(fault, attempt, runfiles) -> None:
    headline, *lines, way_out = reported(attempt.log, f"Validating image layers //faults:{fault}")
    check_message(fault, headline, lines)
    assert way_out == (
        '  to build anyway, set validation = "warn"; to accept single paths, name them in validation_exceptions'
    )
    assert report(runfiles, fault) == expected_report(fault)


@pytest.mark.parametrize("strategy", ["local", "sandboxed"])
def test_a_failed_validation_leaves_its_report(strategy, runfiles, attempt) -> None:
    (runfiles.folder / "bazel-bin/faults/many.validation").unlink(missing_ok=True)
    result = runfiles.build(f"--strategy=PyImageLayerValidation={strategy}", "//faults:many", check=False)
    assert result.status != 0
    assert report(runfiles, "many") == expected_report("many")


@pytest.mark.parametrize("fault", IMPOSSIBLE)
def test_an_impossible_layer_is_refused(fault, attempt) -> None:
    action = f"/bin/faults/{fault}_default.tar"
    assert reported(attempt.log, action) == [IMPOSSIBLE[fault]]


def test_valid_images_pass(runfiles) -> None:
    result = runfiles.build(*(f"//faults:{name}" for name in SOUND))
    assert "validation found" not in result.log
    for name in SOUND:
        assert report(runfiles, name) == []
    assert "srv/faults/binary_whiteout" in paths(runfiles, "whiteout_mended")
    assert not [path for path in paths(runfiles, "whiteout_mended") if ".wh." in path]


def test_links_to_what_is_excluded_are_left_out(runfiles) -> None:
    runfiles.build("//faults:excluded")
    place = SRV.format("excluded") + "/excluded/"
    there = [path.removeprefix(place) for path in paths(runfiles, "excluded") if path.startswith(place)]
    assert there == ["wheel/core.py"]


def test_links_to_a_group_that_is_left_out_are_kept(runfiles) -> None:
    runfiles.build("//faults:dropped")
    assert SRV.format("dropped") + "/dropped/python3" in paths(runfiles, "dropped")


def paths(workspace, target: str) -> list[str]:
    """All paths in the layers of a target of `//faults`."""
    return [path for layer in workspace.layers(f"//faults:{target}").values() for path in layer.paths]


def test_exceptions_accept_what_is_wrong(runfiles) -> None:
    result = runfiles.build(*(f"//faults:{name}" for name in ACCEPTED))
    assert "pylayer: " not in result.log
    for name in ACCEPTED:
        assert report(runfiles, name) == []


def test_an_unused_exception_is_reported(runfiles) -> None:
    result = runfiles.build("//faults:many_accepted")
    assert (
        "INFO: From Validating image layers //faults:many_accepted:\npylayer: no problem was found at a path that "
        'matches "/few/": remove unneeded patterns from validation_exceptions\n'
    ) in result.log
    assert report(runfiles, "many_accepted") == []


@pytest.mark.parametrize("strategy", ["worker", "linux-sandbox", "local"])
def test_a_source_directory_is_refused(strategy, runfiles) -> None:
    result = runfiles.build(f"--strategy=PyImageLayer={strategy}", "//faults:source_directory", check=False)
    assert result.status != 0
    assert SOURCE_DIRECTORY in result.log


def test_a_warning_is_printed_and_the_layers_are_built(runfiles) -> None:
    result = build_again(runfiles, "faults", "dangling_warn")
    _, found, rest = result.log.partition("INFO: From Validating image layers //faults:dangling_warn:\npylayer: ")
    assert found, result.log
    headline, *lines = rest.splitlines()[:3]
    check_message("dangling", headline, lines)
    assert all(file.exists() for file in runfiles.files("//faults:dangling_warn"))
    assert report(runfiles, "dangling_warn") == expected_report("dangling")


def test_nothing_is_validated_where_that_is_off(runfiles) -> None:
    result = runfiles.build("//faults:dangling_off")
    assert "pylayer: " not in result.log
    assert not (runfiles.folder / "bazel-bin/faults/dangling_off.validation").exists()
    assert all(file.exists() for file in runfiles.files("//faults:dangling_off"))


def test_a_folder_that_hides_one_of_the_base_image_causes_a_warning(runfiles) -> None:
    assert WARNING_OF_LIB in build_again(runfiles, "lib/tool", "at_the_images_root").log
    assert "pylayer: " not in build_again(runfiles, "lib/tool", "below_a_root").log


@pytest.mark.parametrize("target", ["layers", "layers_zstd", "layers_tar", "layers_srv"])
def test_a_plain_build_validates_the_example(target, example) -> None:
    assert (example.folder / f"bazel-bin/app/{target}.validation").read_text() == ""


def test_the_workers_that_write_layers_validate_them(example) -> None:
    (example.folder / "bazel-bin/app/layers.validation").unlink()
    (spawn,) = example.spawns("//app:layers")
    assert (spawn.mnemonic, spawn.runner) == ("PyImageLayerValidation", "worker")
    # Both kinds of actions share the same workers.
    logs = (example.folder / "bazel-out").resolve().parents[2] / "bazel-workers"
    assert not list(logs.glob("*PyImageLayerValidation*"))


@pytest.mark.parametrize("strategy", ["worker", "linux-sandbox", "local"])
def test_with_any_strategy_the_example_is_valid(strategy, example) -> None:
    report = example.folder / "bazel-bin/app/layers.validation"
    report.unlink()
    example.build(f"--strategy=PyImageLayerValidation={strategy}", "//app:layers")
    assert report.read_text() == ""


@pytest.mark.parametrize("target", ["//app:layers", "//app:layers_default", "//app:layers_interpreter"])
def test_building_one_layer_validates_all(target, example) -> None:
    example.build("//app:layers")
    (example.folder / "bazel-bin/app/layers.validation").unlink()
    assert [spawn.mnemonic for spawn in example.spawns(target)] == ["PyImageLayerValidation"]
