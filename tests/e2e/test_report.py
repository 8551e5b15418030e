"""What is said about an image: its report, why paths are in their layers, differences, and proposals."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from bazel import PLAIN_OUTPUT, run_program
from conftest import EXAMPLE, REPORT, BuiltWorkspace
from layers import Layer
from report_page import page_data


def contents(workspace: BuiltWorkspace, target: str = "//app:layers") -> dict:
    """The contents of an image, of which there is a report."""
    return json.loads(contents_file(workspace, target).read_text())


def contents_file(workspace: BuiltWorkspace, target: str = "//app:layers") -> Path:
    package, name = target.removeprefix("//").split(":")
    return workspace.folder / "bazel-bin" / package / f"{name}.contents.json"


# --- The report -------------------------------------------------------------------------------------


def test_a_report_is_written_only_on_request_and_changes_no_layer(report_builds) -> None:
    mnemonics = {spawn.mnemonic for spawn in report_builds.spawns_without}
    assert "PyImageLayer" in mnemonics and "PyImageLayerReport" not in mnemonics
    assert [spawn.mnemonic for spawn in report_builds.spawns_with] == ["PyImageLayerReport"]
    layers = contents(report_builds.workspace)["layers"]
    assert {layer["name"]: layer["digest"] for layer in layers} == report_builds.digests_without


def test_bazel_runs_the_program_where_the_user_is(reported) -> None:
    prefix = [*PLAIN_OUTPUT, "@rules_pylayer//:pylayer", "--"]
    assert reported.run("run", *prefix, "-V").output.startswith("pylayer ")
    printed = reported.run("run", *prefix, "inspect", "bazel-bin/app/layers_default.tar.gz").output
    assert "layers_default.tar.gz" in printed


def test_contents_are_those_of_the_layers(reported) -> None:
    for layer in contents(reported)["layers"]:
        read = Layer(reported.folder / f"bazel-bin/app/layers_{layer['name']}.tar.gz")
        assert (layer["digest"], layer["size"], layer["tar_size"]) == (read.digest, len(read.blob), len(read.tar))
        paths = [entry["path"] for entry in layer["entries"] if entry["type"] != "directory"]
        assert paths == read.paths
        shares = sum(entry.get("compressed", 0) for entry in layer["entries"])
        assert 0.99 * layer["size"] - 4096 < shares <= layer["size"]


def test_the_report_can_be_found(reported) -> None:
    page = urlparse(reported.run("run", *PLAIN_OUTPUT, "//app:layers.report").output.strip())
    assert page.scheme == "file"
    assert page_data(Path(unquote(page.path)))["name"] == "//app:layers"


def test_targets_of_commands_are_not_built_with_everything(reported) -> None:
    manual = reported.run("query", "attr(tags, manual, //app:all)").output.split()
    assert {"//app:layers.record", "//app:layers.report", "//app:layers.tune"} <= set(manual)


# --- Why a path is in its layer ---------------------------------------------------------------------


def layers_by_path(image: dict) -> dict[str, str]:
    """The layer of each path that is no directory."""
    return {
        entry["path"]: layer["name"]
        for layer in image["layers"]
        for entry in layer["entries"]
        if entry["type"] != "directory"
    }


def assert_explained(workspace: BuiltWorkspace, target: str) -> int:
    """Compares why each path is in its layer, as told by the command and by the page, with the layers."""
    file = contents_file(workspace, target)
    layers = layers_by_path(contents(workspace, target))
    told = [json.loads(line) for line in run_program("explain", file, "--json").splitlines()]
    explained = {explanation["path"]: explanation["why"]["layer"] for explanation in told if explanation["places"]}
    assert explained == layers
    for explanation in (explanation for explanation in told if not explanation["places"]):
        assert explanation["why"]["layer"] is None or "excluded_link" in explanation

    data = page_data(file.with_name(file.name.replace(".contents.json", ".report.html")))
    files, directories, split = data["files"], data["directories"], {}
    for group in contents(workspace, target)["partition"]["groups"].get("split", []):
        split[group["group"]] = [f"{group['group']}_{number + 1}" for number in range(group["layers"])]
    paths = [""]
    for parent, name in list(zip(directories["parent"], directories["name"], strict=True))[1:]:
        paths.append(f"{paths[parent]}{name}/")
    for directory, name, layer, pattern in zip(
        files["directory"], files["name"], files["layer"], files["pattern"], strict=True
    ):
        path = paths[directory] + name
        group = data["patterns"][pattern]["group"] if pattern >= 0 else data["default_group"]
        assert layers[path] == data["layers"][layer]["name"], path
        assert layers[path] in split.get(group, [group]), path
    return len(layers)


def test_every_file_of_the_example_is_explained(reported) -> None:
    assert assert_explained(reported, "//app:layers") > 3000


def test_every_file_of_all_kinds_of_runfiles_is_explained(runfiles) -> None:
    query = "kind(_py_image_layer, //...) - //faults/..."
    targets = [target for target in runfiles.run("query", query).output.split() if target.startswith("//")]
    assert len(targets) > 10
    runfiles.build(*targets, REPORT)
    assert sum(assert_explained(runfiles, target) for target in targets) > 100


def test_a_listing_next_to_its_settings_is_enough(reported) -> None:
    text = run_program("explain", reported.folder / "bazel-bin/app/layers_numpy.mtree", "numpy/__init__.py")
    assert "in layer numpy: file, " in text
    assert 'layer_groups["numpy"] of //app:layers (app/BUILD.bazel)' in text
    assert run_program("explain", reported.folder / "bazel-bin/app/layers_numpy.mtree", "nothing.py", status=2) == ""


# --- Differences ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bumped(reported, scratch) -> str:
    """The option with which Bazel uses another version of the package click."""
    output_base = Path(reported.run("info", "output_base").output.strip())
    (repository,) = (path.name for path in (output_base / "external").glob("*wheels[~+]pip_deps_click"))
    folder = scratch / "click_bump"
    shutil.copytree(output_base / "external" / repository, folder, symlinks=True)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    with (folder / "site-packages/click/core.py").open("a") as file:
        file.write("# Another version.\n")
    return f"--override_repository={repository}={folder}"


def test_a_bump_changes_one_layer(reported, bumped, folder) -> None:
    old = Path(shutil.copy(contents_file(reported), folder / "old.json"))
    reported.build("//app:layers", REPORT, bumped)
    new = Path(shutil.copy(contents_file(reported), folder / "new.json"))
    reported.build("//app:layers", REPORT)

    difference = json.loads(run_program("diff", "--format=json", old, new))
    assert [layer["name"] for layer in difference["layers"] if layer["change"] != "same"] == ["packages"]
    packages = next(layer for layer in json.loads(new.read_text())["layers"] if layer["name"] == "packages")
    assert difference["pull"] == packages["size"]
    assert [component["name"] for component in difference["components"]] == ["click"]
    assert [Path(file["path"]).name for file in difference["files"]] == ["core.py"]

    assert run_program("diff", "--exit-code", old, old) != ""
    assert run_program("diff", "--exit-code", old, new, status=1) == run_program("diff", old, new)
    comment = run_program("diff", "--format=markdown", old, new)
    assert comment.startswith("**1 of 4 layers changed**")
    assert len(comment.splitlines()) <= 40
    assert "\x1b" not in run_program("diff", old, new)


# --- Proposals --------------------------------------------------------------------------------------


@pytest.fixture
def editable(reported) -> Iterator[BuiltWorkspace]:
    """The built copy of the example. The BUILD file may be edited."""
    build_file = reported.folder / "app/BUILD.bazel"
    text = build_file.read_text()
    yield reported
    build_file.write_text(text)
    reported.build("//app:layers", REPORT)
    reported.read.clear()


def test_a_proposal_can_be_built_and_its_prediction_is_right(editable, bumped, folder) -> None:
    workspace = editable
    proposal = json.loads(run_program("tune", "--json", contents_file(workspace)))
    assert proposal["after"] < proposal["before"] / 2
    build_file = workspace.folder / "app/BUILD.bazel"
    before = build_file.read_text()
    text = workspace.run("run", *PLAIN_OUTPUT, "//app:layers.tune").output
    assert build_file.read_text() == before
    assert "--- a/app/BUILD.bazel\n+++ b/app/BUILD.bazel\n" in text
    assert "buildozer 'set split" in text

    workspace.run("run", *PLAIN_OUTPUT, "//app:layers.tune", "--", "--write")
    assert build_file.read_text() != before
    workspace.build("//app:layers", REPORT)
    old = Path(shutil.copy(contents_file(workspace), folder / "old.json"))
    workspace.build("//app:layers", REPORT, bumped)
    pull = json.loads(run_program("diff", "--format=json", old, contents_file(workspace)))["pull"]
    assert pull == pytest.approx(proposal["pulls"]["click"]["after"], rel=0.1)
    assert "no other division" in workspace.run("run", *PLAIN_OUTPUT, "//app:layers.tune").output


def test_what_the_page_suggests_can_be_pasted(editable) -> None:
    workspace = editable
    before = contents(workspace)
    advice = page_data(workspace.folder / "bazel-bin/app/layers.report.html")["advice"]
    assert [card["title"] for card in advice] == [
        "Divide the packages among more layers",
        "Exclude what most images do not need",
    ]
    build_file = workspace.folder / "app/BUILD.bazel"
    text = build_file.read_text()
    for card in advice:
        loads = [line for line in card["paste"].splitlines() if line.startswith("load(")]
        attributes = [line for line in card["paste"].splitlines() if line and not line.startswith("load(")]
        names = {re.match(r"\w+", line)[0] for line in attributes if re.match(r"\w+ = ", line)}
        start = text.index('    name = "layers",\n') + len('    name = "layers",\n')
        end = text.index("\n)\n", start) + 1
        kept = [line for line in text[start:end].splitlines() if line.split(" = ")[0].strip() not in names]
        text = "\n".join([*loads, text[:start], *attributes, *kept, text[end:]])
    # Names may be loaded twice; Bazel accepts that only from different lines without conflicts.
    names = sorted({name for name in re.findall(r'"(\w+)"', "".join(re.findall(r"load\(.*defs.bzl.*", text)))})
    text = re.sub(r"load\(.*defs\.bzl.*\n", "", text)
    build_file.write_text(f'load("@rules_pylayer//bazel:defs.bzl", {json.dumps(names)[1:-1]})\n' + text)
    workspace.build("//app:layers", REPORT)
    after = contents(workspace)
    assert sum(layer["size"] for layer in after["layers"]) < 0.97 * sum(layer["size"] for layer in before["layers"])
    assert len(after["layers"]) > len(before["layers"])
