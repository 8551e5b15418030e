"""The same layers, with and without select() in attributes."""

load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

def _select(optimized, other):
    return select({
        ":optimized": optimized,
        "//conditions:default": other,
    })

def _optimized(optimized, other):  # buildifier: disable=unused-variable
    return optimized

def _other(optimized, other):  # buildifier: disable=unused-variable
    return other

def chosen_layers(name):
    """Declares `{name}_by_select`, `{name}_optimized` and `{name}_other`.

    Args:
        name: what the names of the targets begin with.
    """
    for suffix, choose in {
        "by_select": _select,
        "optimized": _optimized,
        "other": _other,
    }.items():
        py_image_layer(
            name = "{}_{}".format(name, suffix),
            compress = choose("", "zstd"),
            dedupe = choose(False, True),
            exclude = ["nothing$$"] + choose(["with space"], []),
            group = choose("3000000000", "0"),
            layer_groups = {
                "chosen": choose("pip_deps_numpy", "pip_deps_six"),
                "fixed": "menu",
            },
            mode = choose("0555", "detect"),
            mtime = choose(1700000000, 0),
            owner = choose(1000, 65532),
            platform = choose(":like_the_host", None),
            py_binary = choose(":tool", ":other_tool"),
            root = choose("/srv", "/opt"),
            tar_args = choose(["--uname", "app"], ["--gname=staff"]),
            validation = choose("warn", "off"),
        )
