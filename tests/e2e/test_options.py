"""The effects of the attributes of `py_image_layer`, in the workspace `options`."""

import io
import json
import re
import shutil
import subprocess
import tarfile

import pytest

from layers import Entry, Layer

IMAGE_ORDER = ["interpreter", "packages", "default"]
DEFAULT_TIME = 1672560000


@pytest.fixture(scope="module")
def layers(options):
    """A function that returns the layers of a target of `//app` by group."""
    return lambda name: options.layers(f"//app:{name}")


def members(layers: dict[str, Layer]) -> dict[str, set[str]]:
    """The runfiles paths of each layer, with plain repository names."""
    return {group: {plain(path) for path in layer.paths if ".runfiles/" in path} for group, layer in layers.items()}


def plain(path: str) -> str:
    """A runfiles path without the prefix that Bazel adds to a repository's name."""
    return re.sub(r"^[^/]*[~+]", "", path.partition(".runfiles/")[2])


def entries(layers: dict[str, Layer]) -> list[Entry]:
    """The entries of all layers."""
    return [entry for layer in layers.values() for entry in layer.entries]


# --- root ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, executable",
    [
        ("root_unset", "app/tool"),
        ("root_none", "app/tool"),
        ("root_slash", "app/tool"),
        ("root_app", "app/app/tool"),
        ("root_app_slash", "app/app/tool"),
        ("root_deep", "opt/vendor/app/app/tool"),
        ("root_home", "home/nonroot/app/tool"),
    ],
)
def test_everything_is_below_the_root(target, executable, layers) -> None:
    for path in [path for layer in layers(target).values() for path in layer.paths]:
        assert path == executable or path.startswith(f"{executable}.runfiles/")
    assert executable in layers(target)["default"].paths


def test_folders_above_the_root_are_left_to_the_base_image(layers) -> None:
    folders = {entry.path for entry in entries(layers("root_deep")) if entry.type == "directory"}
    assert "opt/vendor/app" in folders
    assert not folders & {"", ".", "opt", "opt/vendor"}


def test_folders_that_base_images_have_keep_their_owner_and_mode(layers) -> None:
    folders = {entry.path for entry in entries(layers("root_home")) if entry.type == "directory"}
    assert "home/nonroot/app" in folders
    assert not folders & {"home", "home/nonroot"}


def test_a_trailing_slash_of_the_root_is_ignored(layers) -> None:
    assert digests(layers("root_app_slash")) == digests(layers("root_app"))
    assert digests(layers("root_slash")) == digests(layers("root_none")) == digests(layers("root_unset"))


def digests(layers: dict[str, Layer]) -> dict[str, str]:
    return {group: layer.digest for group, layer in layers.items()}


# --- settings -----------------------------------------------------------------------------------

VALUES = r"""
load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")
py_image_layer(
    name = "layers",
    compress = "",
    py_binary = "//app:other_tool",
    root = r'/srv/é 日本"ODD\t',
    layer_groups = {"odd": r'(é|"|日本).*menu\+whl[.]txt$'},
    exclude = [r"six/(BUILD|\x01|\x7f|ÿ)"],
    tar_args = ['--uname=Jürgen "日"', "--gname=<&>"],
)
"""


@pytest.fixture()
def values(options):
    """A function that writes the package `values`, whose text may be no UTF-8."""
    package = options.folder / "values"
    package.mkdir()
    yield lambda odd: (package / "BUILD.bazel").write_bytes(VALUES.encode().replace(b"ODD", odd))
    shutil.rmtree(package)


def test_values_reach_the_program_as_they_are_written(options, values) -> None:
    values(b"&")
    options.build("//values:layers")
    layers = options.layers("//values:layers")
    root = r'srv/é 日本"&\t'
    assert layers["odd"].paths == [f"{root}/app/other_tool.runfiles/_main/app/menu+whl.txt"]
    found = entries(layers)
    assert all(entry.path == root or entry.path.startswith(f"{root}/") for entry in found)
    assert {(entry.uname, entry.gname) for entry in found} == {('Jürgen "日"', "<&>")}
    file = next(layers["odd"].path.parent.glob("layers.settings.json"))
    assert json.loads(file.read_bytes())["root"] == root


def test_a_value_that_is_not_utf_8_is_named(options, values) -> None:
    values(b"\xff")
    log = options.build("//values:layers", check=False).log
    assert "layers.settings.json: root: invalid unicode code point" in log


# --- layer_groups -------------------------------------------------------------------------------


def test_the_default_groups_divide_interpreter_packages_and_the_rest(layers) -> None:
    found = members(layers("root_app"))
    assert list(found) == IMAGE_ORDER
    python = "python_3_11_x86_64-unknown-linux-gnu"
    assert {path for path in found["interpreter"] if not path.endswith("/__init__.py")} == {
        f"{python}/bin/python3",
        f"{python}/lib/python3.11/ensurepip/_bundled/pip-24.0-py3-none-any.whl",
        f"{python}/lib/python3.11/os.py",
    }
    # The interpreter's own packages stay with it.
    assert f"{python}/lib/python3.11/site-packages/pip/__init__.py" in found["interpreter"]
    assert {"pip_deps_six/site-packages/six.py", "pip_deps_numpy/site-packages/numpy/core.so"} <= found["packages"]
    assert all(path.startswith("pip_deps_") for path in found["packages"])
    assert {"_main/app/tool.py", "_main/lib/lib.py", "_main/app/with space.txt", "_repo_mapping"} <= found["default"]


def test_every_file_is_in_one_layer(layers) -> None:
    for target in "root_app", "groups_awk", "groups_order", "groups_regex":
        paths = [path for layer in layers(target).values() for path in layer.paths]
        assert sorted(paths) == sorted({path for layer in layers("root_app").values() for path in layer.paths}), target


def test_a_wheel_is_left_out_only_beside_its_content(layers) -> None:
    found = members(layers("root_app"))
    wheels = {group: {path for path in paths if "whl" in path} for group, paths in found.items()}
    assert wheels == {
        "interpreter": {
            "python_3_11_x86_64-unknown-linux-gnu/lib/python3.11/ensurepip/_bundled/pip-24.0-py3-none-any.whl"
        },
        "packages": set(),
        "default": {"_main/app/menu+whl.txt", "_main/app/old.whl"},
    }


def test_patterns_escaped_for_awk_mean_what_they_meant(layers) -> None:
    found = members(layers("groups_awk"))
    assert found["sources"] == {"_main/app/tool.py"}
    assert "pip_deps_numpy/site-packages/numpy/core.so" in found["numpy"]
    assert found == members(layers("groups_plain"))


def test_the_first_group_that_matches_takes_a_file(layers) -> None:
    found = members(layers("groups_order"))
    assert found["libraries"] == {"pip_deps_numpy/site-packages/numpy/core.so"}
    assert "pip_deps_numpy/site-packages/numpy/__init__.py" in found["numpy"]
    assert list(found) == ["interpreter", "libraries", "numpy", "packages", "default"]


def test_a_pattern_that_analysis_cannot_decide_is_decided_by_the_program(layers) -> None:
    assert members(layers("groups_regex"))["either"] == {
        "pip_deps_numpy/site-packages/numpy/__init__.py",
        "pip_deps_six/site-packages/six.py",
    }


def test_a_pattern_matches_a_space_in_a_name(layers) -> None:
    assert members(layers("groups_space"))["spaces"] == {"_main/app/tree/with space.txt", "_main/app/with space.txt"}


def test_a_group_takes_the_place_of_a_default_one(layers) -> None:
    found = members(layers("groups_own_packages"))
    assert {path for path in found["packages"] if not path.endswith("/__init__.py")} == {
        "pip_deps_six/site-packages/six.py"
    }
    assert "pip_deps_numpy/site-packages/numpy/core.so" in found["default"]


def test_a_pattern_can_send_files_to_the_default_group(layers) -> None:
    assert "pip_deps_numpy/site-packages/numpy/core.so" in members(layers("groups_default"))["default"]


def test_a_group_without_matches_is_harmless(layers) -> None:
    found = members(layers("groups_none_match"))
    assert not found.pop("torch", None)
    assert found == members(layers("root_app"))


# --- kinds of runfiles --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinds(layers) -> dict[str, Entry]:
    """The entries of the default layer by runfiles path."""
    return {plain(entry.path): entry for entry in layers("root_app")["default"].entries}


@pytest.mark.parametrize(
    "path",
    [
        "_main/app/copy.txt",  # a link to a file, created by Bazel
        "_main/app/tree/inner/file.txt",
        "_main/app/tree/link.txt",  # a link within a tree
        "_main/app/tree/with space.txt",
    ],
)
def test_a_link_that_represents_a_file_becomes_its_content(path, kinds) -> None:
    assert kinds[path].type == "file"
    assert kinds[path].sha256 == kinds["_main/app/kind.txt"].sha256


def test_a_declared_symlink_keeps_its_text_though_it_dangles_where_actions_run(kinds) -> None:
    link = kinds["_main/app/declared"]
    assert (link.type, link.target) == ("symlink", "../lib/lib.py")


def test_symlinks_of_runfiles_lead_to_their_file_where_it_is_in_the_image(kinds) -> None:
    link = kinds["_main/links/to_source.txt"]
    assert (link.type, link.target) == ("symlink", "../app/kind.txt")
    link = kinds["at_the_root.txt"]
    assert (link.type, link.target) == ("symlink", "_main/app/kind.txt")


def test_symlinks_of_runfiles_are_their_files_content_where_it_is_not(kinds) -> None:
    assert "_main/app/target.txt" not in kinds
    assert kinds["_main/links/to_target.txt"].size == len("only reached by links\n")


# --- compress and tar_args ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, codec, extension",
    [
        ("compress_gzip", "gzip", ".tar.gz"),
        ("compress_zstd", "zstd", ".tar.zst"),
        ("compress_none", "", ".tar"),
        ("root_app", "", ".tar"),
    ],
)
def test_the_codec_and_the_name_agree_and_the_tar_is_the_same(target, codec, extension, layers) -> None:
    for group, layer in layers(target).items():
        assert layer.codec == codec
        assert layer.path.name == f"{target}_{group}{extension}"
        assert layer.diff_id == layers("root_app")[group].diff_id


@pytest.mark.parametrize(
    "smaller, larger",
    [("tar_args_gzip_best", "tar_args_gzip_fast"), ("tar_args_zstd_best", "compress_zstd")],
)
def test_a_higher_level_makes_smaller_layers(smaller, larger, layers) -> None:
    sizes = [sum(len(layer.blob) for layer in layers(target).values()) for target in (smaller, larger)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    "target, expected",
    [
        ("root_app", (0, 0, "", "", DEFAULT_TIME)),
        ("owner_and_group", (1000, 2000, "", "", DEFAULT_TIME)),
        ("owner_as_number", (1000, 0, "", "", DEFAULT_TIME)),
        ("group_alone", (0, 2000, "", "", DEFAULT_TIME)),
        ("great_numbers", (4294967294, 4294967294, "", "", 4611686018427387904)),
        ("tar_args_owner", (1000, 2000, "app", "staff", DEFAULT_TIME)),
        ("tar_args_numeric_owner", (1000, 0, "", "", DEFAULT_TIME)),
        ("tar_args_mtime_seconds", (0, 0, "", "", 0)),
        ("tar_args_mtime_date", (0, 0, "", "", 1582934400)),
        ("tar_args_mtime_time", (0, 0, "", "", 1582979696)),
    ],
)
def test_owner_and_time_are_those_of_every_entry(target, expected, layers) -> None:
    found = {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries(layers(target))}
    assert found == {expected}


def test_exclude_leaves_files_out(layers) -> None:
    everything, rest = (
        {path for paths in members(layers(name)).values() for path in paths}
        for name in ("root_app", "tar_args_exclude")
    )
    assert everything - rest == {
        "pip_deps_numpy/site-packages/numpy/core.so",
        "_main/app/with space.txt",
        "_main/app/tree/with space.txt",
    }


# --- None and select ----------------------------------------------------------------------------


def test_none_is_the_default(layers) -> None:
    found = layers("everything_none")
    assert {layer.codec for layer in found.values()} == {"gzip"}
    assert {name: layer.diff_id for name, layer in found.items()} == {
        name: layer.diff_id for name, layer in layers("root_unset").items()
    }


@pytest.mark.parametrize("mode, chosen", [("fastbuild", "chosen_other"), ("opt", "chosen_optimized")])
def test_attributes_can_be_chosen_by_select(mode, chosen, options) -> None:
    option = f"--compilation_mode={mode}"
    options.build(option, "//app:chosen_by_select", f"//app:{chosen}")
    found, expected = (
        [Layer(file) for file in options.files(f"//app:{target}", option)] for target in ("chosen_by_select", chosen)
    )
    assert [layer.path.name.replace("by_select", chosen.removeprefix("chosen_")) for layer in found] == [
        layer.path.name for layer in expected
    ]
    assert len({layer.codec for layer in found}) == 1
    assert [layer.digest for layer in found] == [layer.digest for layer in expected]
    options.build("//app:all")


@pytest.mark.parametrize(
    "target, globs",
    [
        ("tar_args_exclude", ["*.so", "with*"]),
        ("tar_args_exclude_directories", ["*/tree/", "./numpy", "^app/app//tool.runfiles/./_main/links"]),
    ],
)
def test_exclude_matches_what_bsdtar_excludes(target, globs, layers, folder) -> None:
    everything = [path for layer in layers("root_app").values() for path in layer.paths]
    rest = [path for layer in layers(target).values() for path in layer.paths]
    escaped = (re.sub("[^A-Za-z0-9/]", lambda char: f"\\{ord(char[0]):03o}", path) for path in everything)
    (folder / "spec").write_text("#mtree\n" + "".join(f"./{path} type=file size=0\n" for path in escaped))
    command = ["bsdtar", "--create", "--file", "-", *(f"--exclude={glob}" for glob in globs), "@spec"]
    archive = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert sorted(rest) == sorted(name.removeprefix("./") for name in tar.getnames())
    assert len(rest) < len(everything)


# --- mode ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, of_data, of_programs",
    [
        ("root_app", 0o755, 0o755),
        ("mode_0440", 0o440, 0o550),
        ("mode_0644", 0o644, 0o755),
        ("mode_detect", 0o644, 0o755),
    ],
)
def test_programs_can_be_executed_wherever_they_can_be_read(target, of_data, of_programs, layers) -> None:
    files = {entry.path: entry.mode for entry in entries(layers(target)) if entry.type == "file"}
    assert files["app/app/tool"] == of_programs
    assert files["app/app/tool.runfiles/_main/app/kind.txt"] == of_data


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["binary", "platform"])
def test_the_layers_are_the_same_with(target, layers) -> None:
    assert members(layers(target)) == members(layers("root_app"))


def test_each_layer_has_a_target_and_an_output_group(options) -> None:
    for group in IMAGE_ORDER:
        (by_target,) = options.files(f"//app:root_app_{group}")
        assert by_target.name == f"root_app_{group}.tar"
        # On Bazel's command line, the output group `default` means a target's default outputs.
        if group != "default":
            assert options.files("//app:root_app", f"--output_groups={group}") == [by_target]


def test_the_macro_returns_the_layers_in_image_order(options) -> None:
    names = [file.name for file in options.files("//app:returned")]
    assert names == [f"common_attributes_{group}.tar" for group in ("interpreter", "numpy", "packages", "default")]


def test_attributes_about_actions_are_those_of_the_target_with_actions(options) -> None:
    options.build("--nobuild", "//app:with_resources_default")
    for attribute in "exec_properties, cpus", "exec_compatible_with, linux":
        found = options.run("query", f"attr({attribute}, //app:all)").output.split()
        assert found == ["//app:with_resources"]
    tagged = options.run("query", "attr(tags, sized, //app:all)").output.split()
    assert "//app:with_resources_default" in tagged


def test_common_attributes_reach_every_target(options) -> None:
    query = "attr(tags, tagged, attr(testonly, 1, attr(visibility, public, //app:all)))"
    found = options.run("query", query).output.split()
    groups = "interpreter", "numpy", "packages", "default"
    others = "cmd", "config", "entrypoint", "env", "record", "report", "tune"
    assert set(found) == {
        "//app:common_attributes",
        *(f"//app:common_attributes_{group}" for group in groups),
        *(f"//app:common_attributes.{part}" for part in others),
    }
