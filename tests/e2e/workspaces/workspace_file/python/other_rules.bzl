"""Another rule set for Python, with a provider of its own."""

OtherInfo = provider(
    doc = "What Python targets need.",
    fields = [
        "imports",
        "more",
        "transitive_sources",
    ],
)

def _other_library_impl(ctx):
    # Fails if a dependency does not have all fields.
    depset(transitive = [target[OtherInfo].more for target in ctx.attr.deps])
    root = "/".join([ctx.workspace_name, ctx.label.package, ctx.label.name])
    return [OtherInfo(
        imports = depset([root], transitive = [target[OtherInfo].imports for target in ctx.attr.deps]),
        more = depset(),
        transitive_sources = depset(transitive = [target[OtherInfo].transitive_sources for target in ctx.attr.deps]),
    )]

other_library = rule(
    implementation = _other_library_impl,
    attrs = {"deps": attr.label_list()},
)
