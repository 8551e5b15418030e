"""The rule `py_library`."""

load(":sources.bzl", "DATA", "SOURCE_ATTRIBUTES", "collect", "library_providers")
load(":virtual.bzl", "virtual_info")

def _py_library_impl(ctx):
    # Resolutions are for the binaries that depend on the library; they decide.
    collected = collect(ctx, ctx.attr.deps, ctx.attr.data)
    virtual = virtual_info(ctx.attr.virtual_deps, ctx.attr.resolutions, ctx.attr.deps)
    return [
        DefaultInfo(files = depset(ctx.files.srcs), default_runfiles = collected.runfiles),
    ] + library_providers(ctx, collected, virtual)

py_library = rule(
    implementation = _py_library_impl,
    doc = "Python sources that others import.",
    attrs = SOURCE_ATTRIBUTES | {
        "data": attr.label_list(**DATA),
        "virtual_deps": attr.string_list(doc = "Names of distributions for which the binary chooses a target."),
    },
)
