"""What `py_image_layer` provides to other rules, among them those of rules_img."""

import json
import re
import shutil
from pathlib import Path

import pytest

from bazel import CHECKOUT, Workspace
from conftest import WORKSPACES
from layers import Layer
from test_image import descriptor

SOURCE = WORKSPACES / "image_rules"
CODECS = ["none", "gzip", "zstd"]
CONFIGURATION = {
    "cmd": [],
    "entrypoint": ["/srv/app/server"],
    "env": {"PORT": "8080"},
    "working_dir": "/srv/app/server.runfiles/_main",
}
TAG = 'image_rules.rules_img(bzl = "@rules_img//img:providers.bzl")\n'


def add_rules_img(workspace: Workspace, generation: str) -> None:
    """Completes the stand-in for rules_img."""
    rules_img = workspace.folder / "rules_img"
    shutil.copytree(workspace.folder / "generations" / generation, rules_img, dirs_exist_ok=True)


@pytest.fixture(scope="module", params=["first", "with_history"])
def with_tag(request, make_workspace) -> Workspace:
    """The workspace, with a stand-in for one generation of rules_img, built."""
    workspace = make_workspace(SOURCE, f"image_rules_{request.param}")
    add_rules_img(workspace, request.param)
    workspace.build("//...")
    return workspace


@pytest.fixture(scope="module")
def without_tag(make_workspace) -> Workspace:
    """The same workspace without the tag, where the files of rules_img cannot be loaded."""
    workspace = make_workspace(SOURCE, "image_rules_without_tag")
    edit(workspace.folder / "MODULE.bazel", TAG, "")
    remove_images(workspace)
    workspace.build("//...")
    return workspace


def remove_images(workspace: Workspace) -> None:
    """Removes what loads rules_img."""
    edit(workspace.folder / "app" / "BUILD.bazel", r'load\("@rules_img.*\n', "")
    edit(workspace.folder / "app" / "BUILD.bazel", r"(?s)\n\[\n    image_manifest\(.*", "")


def edit(file: Path, pattern: str, text: str) -> str:
    """Replaces what matches a pattern, or a text as it is. Returns the original content."""
    original = file.read_text()
    changed = original.replace(pattern, text) if pattern in original else re.sub(pattern, text, original)
    assert changed != original
    file.write_text(changed)
    return original


def providers(workspace: Workspace, target: str) -> dict[str, str]:
    """The target's own providers, by name, as Starlark prints them."""
    expression = "json.encode({name: repr(value) for name, value in providers(target).items()})"
    query = workspace.run("cquery", "--output=starlark", f"--starlark:expr={expression}", target)
    return {name.rpartition("%")[2]: value for name, value in json.loads(query.output).items()}


# --- PyImageLayersInfo ---------------------------------------------------------------------------


def test_the_rule_in_the_guide_reports_the_layers(without_tag) -> None:
    rule = (SOURCE / "app" / "layer_report.bzl").read_text()
    assert f"```starlark\n{rule}```\n" in (CHECKOUT / "docs" / "guide.md").read_text()
    report, *descriptors = without_tag.files("//app:report")
    content = json.loads(report.read_text())
    assert content["entrypoint"] == CONFIGURATION["entrypoint"]
    # In image order. The group without files is not in the image.
    assert [name for name, _ in content["layers"]] == ["large", "default"]
    for (_, path), file in zip(content["layers"], descriptors, strict=True):
        assert json.loads(file.read_text()) == descriptor(Layer(without_tag.folder / path))


def test_the_provider_has_the_files_of_each_layer_and_the_configuration(without_tag) -> None:
    expression = """
def format(target):
    info = [value for name, value in providers(target).items() if name.endswith("%PyImageLayersInfo")][0]
    return json.encode({
        "layers": [
            [layer.name, layer.distributions, layer.file.basename, layer.descriptor.basename, layer.listing.basename]
            for layer in info.layers
        ],
        "configuration": {name: getattr(info, name) for name in ["cmd", "entrypoint", "env", "working_dir"]},
    })
"""
    file = without_tag.folder.parent / "providers.cquery"
    file.write_text(expression)
    query = without_tag.run("cquery", "--output=starlark", f"--starlark:file={file}", "//app:layers_zstd")
    content = json.loads(query.output)
    names = [(name, f"layers_zstd_{name}") for name in ["large", "default"]]
    assert content["layers"] == [
        [name, [], f"{base}.tar.zst", f"{base}.descriptor.json", f"{base}.mtree"] for name, base in names
    ]
    assert content["configuration"] == CONFIGURATION
    (config,) = without_tag.files("//app:layers_zstd.config")
    without_tag.build("//app:layers_zstd.config")
    assert content["configuration"] == json.loads(config.read_text())


# --- rules_img -----------------------------------------------------------------------------------


def test_without_the_tag_nothing_of_rules_img_is_loaded_or_written(without_tag) -> None:
    assert not (without_tag.folder / "rules_img" / "img" / "private" / "providers" / "single_layer_info.bzl").exists()
    assert "PyImageLayersInfo" in providers(without_tag, "//app:layers_gzip")
    assert not {"ImageLayerConfigInfo", "LayersInfo"} & set(providers(without_tag, "//app:layers_gzip"))
    assert not list((without_tag.folder / "bazel-bin" / "app").glob("*.metadata.json"))


@pytest.mark.parametrize("codec", CODECS)
def test_rules_img_gets_every_field_of_each_layer(codec, with_tag) -> None:
    image, *_ = with_tag.files(f"//app:image_{codec}")
    described = json.loads(image.read_text())
    assert described["configs"] == [CONFIGURATION]
    tars = with_tag.files(f"//app:layers_{codec}")
    for tar, layer in zip(tars, described["layers"], strict=True):
        assert with_tag.folder / layer.pop("blob") == tar
        assert layer.pop("media_type") == Layer(tar).media_type
        assert layer.pop("estargz") is False
        assert layer.pop("metadata")
        assert layer.pop("sources", []) == []
        assert {*layer.values()} <= {None}


@pytest.mark.parametrize("codec", CODECS)
def test_the_metadata_of_a_layer_has_what_rules_img_accepts(codec, with_tag) -> None:
    image, *_ = with_tag.files(f"//app:image_{codec}")
    for layer, name in zip(json.loads(image.read_text())["layers"], ["large", "default"], strict=True):
        expected = descriptor(Layer(with_tag.folder / layer["blob"]))
        if with_tag.folder.name.endswith("with_history"):
            expected["history"] = [{"created_by": f"bazel build //app:layers_{codec} ({name})"}]
        assert json.loads((with_tag.folder / layer["metadata"]).read_text()) == expected


def test_a_rules_img_without_these_providers_is_an_error(make_workspace) -> None:
    workspace = make_workspace(SOURCE, "image_rules_too_old")
    remove_images(workspace)
    log = workspace.build("//app:layers_gzip", check=False).log
    assert re.search(
        r"pylayer: the tag or argument rules_img requires rules_img 0\.3\.10 to 0\.3\.19; "
        r"@@rules_img[^/]*//img/private/providers:single_layer_info\.bzl does not exist",
        log,
    )


def test_tags_that_name_several_files_are_an_error(make_workspace) -> None:
    workspace = make_workspace(SOURCE, "image_rules_several")
    add_rules_img(workspace, "first")
    edit(workspace.folder / "MODULE.bazel", TAG, TAG + TAG.replace("providers", "image"))
    log = workspace.build("//app:layers_gzip", check=False).log
    assert re.search(
        r"pylayer\.rules_img: tags name several files, @@\S+:providers\.bzl, @@\S+:image\.bzl; remove all but one", log
    )
    edit(workspace.folder / "MODULE.bazel", TAG.replace("providers", "image"), TAG)
    workspace.build("--nobuild", "//app:layers_gzip")


def test_rules_img_gets_the_layers_in_a_workspace_file(make_workspace) -> None:
    workspace = make_workspace(WORKSPACES / "workspace_file", "rules_img_in_workspace", options=["--config=workspace"])
    shutil.copytree(SOURCE / "rules_img", workspace.folder / "rules_img")
    shutil.copytree(SOURCE / "generations/with_history", workspace.folder / "rules_img", dirs_exist_ok=True)
    with (workspace.folder / ".bazelignore").open("a") as file:
        file.write("rules_img\n")
    edit(
        workspace.folder / "WORKSPACE",
        "\npylayer_register_toolchains(\n",
        '\nlocal_repository(\n    name = "rules_img",\n    path = "rules_img",\n)\n'
        '\npylayer_register_toolchains(\n    rules_img = "@rules_img//img:providers.bzl",\n',
    )
    assert {"ImageLayerConfigInfo", "LayersInfo"} <= set(providers(workspace, "//app:layers"))
    workspace.build("//app:layers_default")
    metadata = json.loads((workspace.folder / "bazel-bin/app/layers_default.metadata.json").read_text())
    assert metadata["history"] == [{"created_by": "bazel build //app:layers (default)"}]
