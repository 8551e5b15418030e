"""Creates a repository of small files."""

_BUILD = """\
filegroup(
    name = "files",
    srcs = {paths},
    visibility = ["//visibility:public"],
)
"""

def _text_repository_impl(rctx):
    for path in rctx.attr.paths:
        rctx.file(path, "# {}\n".format(path))
    rctx.file("BUILD.bazel", _BUILD.format(paths = repr(rctx.attr.paths)))

text_repository = repository_rule(
    implementation = _text_repository_impl,
    attrs = {"paths": attr.string_list()},
)
