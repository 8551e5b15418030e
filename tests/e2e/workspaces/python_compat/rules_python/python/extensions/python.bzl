"""The extension that registers interpreters. This one only lists them."""

def _hub_impl(rctx):
    rctx.file("BUILD.bazel", "# The toolchains.\n")
    lines = ["    \"{}_host\": None,\n".format(name) for name in rctx.attr.names]
    rctx.file("interpreters.bzl", "INTERPRETER_LABELS = {\n" + "".join(lines) + "}\n")

_hub = repository_rule(
    implementation = _hub_impl,
    attrs = {"names": attr.string_list()},
)

def _python_impl(mctx):
    tags = [tag for module in mctx.modules for tag in module.tags.toolchain]
    _hub(
        name = "pythons_hub",
        names = ["python_" + tag.python_version.replace(".", "_") for tag in tags],
    )

python = module_extension(
    implementation = _python_impl,
    tag_classes = {"toolchain": tag_class(attrs = {"python_version": attr.string()})},
)
