"""A mistake in a BUILD file or on the command line causes a message that says what to do."""

import subprocess

import pytest

from bazel import TIMEOUT, program

# Attributes of an otherwise valid `py_image_layer` → the message.
AT_ANALYSIS = {
    "root_relative": ('root = "srv"', 'root must be an absolute directory: write "/srv", not "srv"'),
    "root_upwards": ('root = "/srv/../etc"', 'root is "/srv/../etc": remove . and ..'),
    "group_reserved": (
        'layer_groups = {"descriptors": "x"}',
        'choose another name for layer group "descriptors": descriptors, listings, report and names that begin with _',
    ),
    "group_underscore": ('layer_groups = {"_validation": "x"}', 'choose another name for layer group "_validation"'),
    "group_slash": (
        'layer_groups = {"a/b": "x"}',
        'layer group "a/b" becomes part of a target\'s name: use letters, digits, _, -, . and +',
    ),
    "group_empty": ('layer_groups = {"": "x"}', 'layer group "" becomes part of a target\'s name'),
    "group_no_pattern": (
        'layer_groups = {"torch": ["torch"]}',
        'layer group "torch" requires a regular expression, not ["torch"]',
    ),
    "group_twice": ('layer_groups = {"torch": "a", "torch": "b"}', 'dictionary expression has duplicate key: "torch"'),
    "group_none": (
        'layer_groups = {"torch": None}',
        "only the default groups interpreter and packages can be dropped with None; give layer group \"torch\" a pattern",
    ),
    "package_version": (
        'layer_groups = {"torch": pip_package("torch>=2")}',
        'pip_package: "torch>=2" is not the name of a package: give it as in a requirements file, without version',
    ),
    "package_unnamed": ('exclude = ["{pip_package:}"]', 'exclude: "{pip_package:}" names no package: use pip_package'),
    "package_none": ("exclude = [pip_package()]", "pip_package: name at least one package, as in a requirements file"),
    "regex_parenthesis": (
        'layer_groups = {"torch": "tor(ch"}',
        'the pattern of layer group "torch", "tor(ch", is not a regular '
        "expression: unclosed parenthesis",
    ),
    "regex_bracket": ('layer_groups = {"torch": "[a-z"}', "is not a regular expression: unclosed bracket"),
    "regex_repeat": ('layer_groups = {"torch": "*torch"}', 'is not a regular expression: "*" has nothing to repeat'),
    "regex_line_break": (
        'layer_groups = {"torch": "tor\\nch"}',
        'the pattern of layer group "torch", "tor\\nch", contains a line break: write it as \\n, or \\r',
    ),
    "exclude_empty": ('exclude = [""]', 'exclude: "" matches every path: write "." if that is meant'),
    "exceptions_empty": (
        'validation_exceptions = [""]',
        'validation_exceptions: "" matches every path: write "." if that is meant',
    ),
    "exclude_line_break": (
        'exclude = ["tor\\rch"]',
        'exclude: "tor\\rch" contains a line break: write it as \\n, or \\r',
    ),
    "exception_parenthesis": (
        'validation_exceptions = ["tor(ch"]',
        'validation_exceptions: "tor(ch" is not a regular expression: unclosed parenthesis',
    ),
    "root_line_break": ('root = "/a\\nb"', 'root is "/a\\nb": remove line breaks'),
    "regex_lookahead": ('layer_groups = {"torch": "(?!torch)"}', "look-around, such as (?!…), is not supported"),
    "tar_args_unknown": (
        'tar_args = ["--strip-components", "1"]',
        'tar_args: "--strip-components" is not supported. Supported are\n'
        "  --options OPTION[,OPTION…]   gzip:!timestamp, gzip:compression-level=0…9",
    ),
    "tar_args_option": (
        'tar_args = ["--options", "gzip:!timestamp,xz:threads=2"]',
        'tar_args: --options "xz:threads=2" is not supported. Supported are\n',
    ),
    "tar_args_no_value": ('tar_args = ["--uid"]', "tar_args: --uid has no value"),
    "tar_args_uid": ('tar_args = ["--uid", "app"]', 'tar_args: --uid requires a number, not "app"'),
    "tar_args_mtime": (
        'tar_args = ["--mtime", "yesterday"]',
        'tar_args: --mtime requires @SECONDS, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ, not "yesterday"',
    ),
    "tar_args_day": ('tar_args = ["--mtime", "2023-02-31"]', 'not "2023-02-31"'),
    "level_gzip": (
        'tar_args = ["--options", "gzip:compression-level=10"]',
        "gzip has compression levels from 0 to 9, not 10",
    ),
    "level_zstd": (
        'compress = "zstd", tar_args = ["--options", "zstd:compression-level=23"]',
        "zstd has compression levels from 1 to 22, not 23",
    ),
    "level_of_another": (
        'compress = "zstd", tar_args = ["--options", "gzip:compression-level=9"]',
        '--options "gzip:compression-level=9" has no effect with compress = "zstd"',
    ),
    "level_of_none": (
        'compress = "", tar_args = ["--options", "gzip:compression-level=9"]',
        "has no effect on a plain tar; remove it or set compress",
    ),
    "compress": ('compress = "xz"', 'compress is "xz": use "gzip", "zstd", or "" for a plain tar'),
    "regex_of_select": (
        'layer_groups = {"torch": select({"//conditions:default": "tor(ch"})}',
        'the pattern of layer group "torch", "tor(ch", is not a regular expression: unclosed parenthesis',
    ),
    "line_break_of_select": (
        'layer_groups = {"torch": select({"//conditions:default": "tor\\nch"})}',
        "layer_groups: a pattern contains a line break: write it as \\n, or \\r",
    ),
    "none_of_select": (
        'layer_groups = {"torch": select({"//app:optimized": "torch", "//conditions:default": None})}',
        'the pattern of layer group "torch" is empty (or None in a select), and would match every path: write "." for every path',
    ),
    "groups_select": (
        'layer_groups = select({"//conditions:default": {"torch": "torch"}})',
        'py_image_layer(name = "layers"): layer_groups cannot be a select, because its names become targets; '
        'use a dict whose patterns are selects: {"torch": select(…)}',
    ),
    "groups_list": ('layer_groups = ["torch"]', 'layer_groups must be a dict of names and patterns, not ["torch"]'),
    "owner": ('owner = "app"', 'owner is "app": write a whole number from 0 to 4294967294'),
    "owner_negative": ("owner = -1", 'owner is "-1": write a whole number from 0'),
    "owner_of_select": (
        'owner = select({"//conditions:default": -1})',
        'owner is "-1": write a whole number from 0',
    ),
    "owner_great": ("owner = 4294967296", "owner is 4294967296: the maximum is 4294967294"),
    "group_great": ('group = "4294967295"', "group is 4294967295: the maximum is 4294967294"),
    "mtime_great": (
        "mtime = 9223372036854775808",
        "mtime is 9223372036854775808: the maximum is 9223372036854775807",
    ),
    "uid_great": (
        'tar_args = ["--uid", "99999999999"]',
        "tar_args: --uid is 99999999999: the maximum is 4294967294",
    ),
    "mode_great": ('mode = "77777"', 'mode is "77777": use octal permissions such as "0755", or "detect"'),
    "validation": ('validation = "strict"', "has to be one of 'error', 'warn' or 'off' instead of 'strict'"),
    "group": ('group = "-1"', 'group is "-1": write a whole number from 0'),
    "not_executable": (
        'py_binary = "//app:kinds"',
        "//app:kinds is not executable: py_image_layer requires a py_binary or another executable target with runfiles",
    ),
    "not_a_target": ('py_binary = "//app:tool.py"', "//app:tool.py is not executable: py_image_layer requires a py_binary"),
    "no_binary": ("py_binary = None", "set py_binary to the binary that the layers are for"),
    "two_binaries": ('binary = "//app:tool"', "py_binary and binary are for the same: set only one"),
    "binary_and_binaries": (
        'binaries = ["//app:tool"], runfiles_root = "/app/.runfiles"',
        "py_binary and binaries are for the same: set only one",
    ),
    "no_runfiles_root": (
        'py_binary = None, binaries = ["//app:tool"]',
        'binaries requires runfiles_root, the directory that they share: runfiles_root = "/app/.runfiles"',
    ),
    "no_binaries": (
        'py_binary = None, binaries = [], runfiles_root = "/app/.runfiles"',
        "there is no binary: binaries is empty, or py_binary is None in a select",
    ),
    "runfiles_root_relative": (
        'runfiles_root = "app/.runfiles"',
        'runfiles_root must be an absolute directory: write "/app/.runfiles", not "app/.runfiles"',
    ),
    "runfiles_root_name": (
        'runfiles_root = "/app/runfiles"',
        'runfiles_root is "/app/runfiles": launchers find a runfiles directory by its name, which must end in .runfiles',
    ),
    "runfiles_root_slash": ('runfiles_root = "/"', 'runfiles_root is "/": launchers find a runfiles directory by its name'),
    "runfiles_root_above": (
        'root = "/a.runfiles", runfiles_root = "/a.runfiles"',
        "runfiles_root: /a.runfiles/app/tool would be both a binary and in the runfiles directory",
    ),
    "runfiles_root_in_binary": (
        'root = "/a", runfiles_root = "/a/app/tool/.runfiles"',
        "runfiles_root: it would be inside /a/app/tool, which is a binary: choose a directory without binaries, such as /a/.runfiles",
    ),
    "runfiles_root_in_link": (
        'root = "/a", runfiles_root = "/a/app/tool.runfiles/x.runfiles"',
        "runfiles_root: it would be inside /a/app/tool.runfiles, which is a symlink to it",
    ),
    "binary_of_select": (
        'py_binary = select({"//app:optimized": "//app:tool", "//conditions:default": None})',
        "there is no binary: binaries is empty, or py_binary is None in a select",
    ),
    "split_group": (
        'split = {"torch": 2}',
        'split: there is no layer group "torch"; the groups are interpreter, packages, default',
    ),
    "split_dropped": (
        'layer_groups = {"packages": None}, split = 2',
        'split: layer group "packages" is left out of the image by layer_groups = {"packages": None}',
    ),
    "split_number": ("split = 0", "split: packages cannot become 0 layers: write a number from 1 to 127"),
    "split_great": ('split = {"packages": 128}', "split: packages cannot become 128 layers: write a number from 1 to 127"),
    "split_text": ('split = {"packages": "2"}', 'split: the number of layers of "packages" must be a number, not "2"'),
    "split_select": (
        'split = {"packages": select({"//conditions:default": 2})}',
        "; only a number instead of the dict can be a select",
    ),
    "split_list": ("split = [8]", "split must be a number, or a dict from layer groups to numbers, not [8]"),
    "max_layers_zero": ("max_layers = 0", "max_layers is 0: write a number from 1"),
    "split_name": (
        'layer_groups = {"packages_2": "x"}, split = 2',
        'split: layer group "packages_2" has the name of a layer of the group "packages": choose another name',
    ),
    "prefetch_tree": (
        'lazy = "estargz", prefetch = "//app:tree"',
        "prefetch: @@//app:tree is a directory; name a file with a path in each line",
    ),
    "max_layers": (
        'max_layers = 1, layer_groups = {"code": "tool.py"}',
        "there are 4 layers, and max_layers is 1: 1 of interpreter, 1 of code, ",
    ),
}

# Mistakes that analysis does not detect, because it supports regular expressions only in part, but the program does.
BY_THE_PROGRAM = {
    "regex_range": (
        'layer_groups = {"torch": "[z-a]"}',
        'the pattern of layer group "torch", "[z-a]" is not a valid regular expression: invalid character class range',
    ),
    "regex_repetition": ('layer_groups = {"torch": "a{2,1}"}', "is not a valid regular expression: invalid repetition"),
    "exception_range": (
        'validation_exceptions = ["[z-a]"]',
        'the pattern of validation_exceptions "[z-a]" is not a valid regular expression: invalid character class range',
    ),
    "regex_class": ('layer_groups = {"torch": "\\\\p{Klingon}"}', "is not a valid regular expression: Unicode"),
}

# Arguments of `pylayer pack` → the message.
BY_PACK = {
    "regex": (["--layer-group=torch=tor(ch"], 'the pattern of layer group "torch", "tor(ch" is not a valid regular'),
    "exclude": (["--exclude=["], 'the exclude pattern "[" is not a valid regular expression: unclosed character class'),
    "group": (["--layer-group=torch"], "expected NAME=REGEX"),
    "group_slash": (["--layer-group=../torch=x"], "../torch cannot be the name of a layer: use letters, digits"),
    "root": (["--root=/a/../b"], "`.` and `..` are not allowed in an image path"),
    "compress": (["--compress=xz"], 'unknown compression "xz"; use gzip, zstd or none'),
    "level_gzip": (["--level=10"], "gzip has no compression level 10; use 0 to 9"),
    "level_zstd": (["--compress=zstd", "--level=0"], "zstd has no compression level 0; use 1 to 22"),
    "level_of_none": (["--compress=none", "--level=1"], 'compression "none" has no levels; remove the level'),
    "owner": (["--uid=app"], "invalid value 'app' for '--uid <N>'"),
    "runfiles": (["--runfiles=/nowhere"], "/nowhere is not there; build the binary with runfiles"),
}


@pytest.fixture(scope="module")
def mistakes(options):
    """The workspace `options` with a package for each mistake."""
    for name, (attributes, _) in (AT_ANALYSIS | BY_THE_PROGRAM).items():
        folder = options.folder / "mistakes" / name
        folder.mkdir(parents=True)
        binary = "" if "py_binary" in attributes else 'py_binary = "//app:tool", '
        (folder / "BUILD.bazel").write_text(
            'load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")\n'
            f'py_image_layer(name = "layers", {binary}{attributes})\n'
        )
    return options


@pytest.mark.parametrize("mistake", AT_ANALYSIS)
def test_analysis_explains(mistake, mistakes) -> None:
    result = mistakes.build("--nobuild", f"//mistakes/{mistake}:layers", check=False)
    assert result.status != 0
    assert AT_ANALYSIS[mistake][1] in result.log


@pytest.mark.parametrize("runner", ["worker", "local"])
@pytest.mark.parametrize("mistake", BY_THE_PROGRAM)
def test_the_program_explains(mistake, runner, mistakes) -> None:
    result = mistakes.build(f"--strategy=PyImageLayer={runner}", f"//mistakes/{mistake}:layers", check=False)
    assert result.status != 0
    assert BY_THE_PROGRAM[mistake][1] in result.log


def test_bazel_names_the_groups_when_one_is_not_there(options) -> None:
    result = options.build("--nobuild", "//app:root_app_interpeter", check=False)
    assert "no such target '//app:root_app_interpeter'" in result.log
    assert "root_app_interpreter" in result.log


@pytest.mark.parametrize("mistake", BY_PACK)
def test_pack_explains(mistake, options, folder) -> None:
    arguments, message = BY_PACK[mistake]
    command = [program(), "pack", "--binary", options.folder / "bazel-bin/app/tool", "--out", folder / "out"]
    process = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode != 0
    assert message in process.stderr
    assert not list(folder.glob("out/*")), "a partial output was left"
