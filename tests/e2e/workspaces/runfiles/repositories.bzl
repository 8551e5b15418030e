"""Repositories with the layouts of those of an interpreter and of wheels."""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

filegroup(
    name = "files",
    srcs = glob(["**"], exclude = ["*"]),
)

exports_files(glob(["**"], exclude = ["*"]))
"""

def _interpreter_repository_impl(rctx):
    # A shell is an interpreter, too, and needs no library.
    rctx.execute(["mkdir", "bin"])
    rctx.execute(["cp", rctx.path(rctx.which("sh")).realpath, "bin/python3.11"])
    for link in ["bin/python3", "bin/python"]:
        # Not rctx.symlink, which creates absolute links.
        rctx.execute(["ln", "-s", "python3.11", link])
    rctx.file("lib/python3.11/os.py", "# os\n")
    rctx.file("lib/python3.11/site-packages/pip/__init__.py", "# pip\n")
    rctx.file("BUILD.bazel", _BUILD)

interpreter_repository = repository_rule(
    implementation = _interpreter_repository_impl,
    doc = "`bin/python3.11`, with links to it, and a library.",
)

def _text_repository_impl(rctx):
    for path in rctx.attr.paths:
        rctx.file(rctx.attr.prefix + path, "# {}\n".format(path))
    rctx.file("BUILD.bazel", _BUILD)

text_repository = repository_rule(
    implementation = _text_repository_impl,
    attrs = {
        "paths": attr.string_list(),
        "prefix": attr.string(),
    },
    doc = "Small files.",
)
