"""What libraries and binaries have in common: their attributes, and what these mean."""

load(":distributions.bzl", "distributions", "import_roots")
load(":py_info.bzl", "new_py_infos", "py_info")

# Targets in `deps` need not be Python: what libraries of C++ need to run becomes runfiles.
SOURCE_ATTRIBUTES = {
    "srcs": attr.label_list(doc = "Python source files.", allow_files = True),
    "deps": attr.label_list(
        doc = "What the sources import: targets of any rule set for Python.",
        aspects = [distributions],
    ),
    "imports": attr.string_list(doc = "Directories to import from, relative to the package."),
    "resolutions": attr.label_keyed_string_dict(
        doc = "Targets for virtual dependencies. One that is not Python removes the dependency.",
        aspects = [distributions],
    ),
}

# Settings of the attribute `data`, whose transition differs.
DATA = {
    "allow_files": True,
    "aspects": [distributions],
    "doc": "Files and targets that are needed when the program runs.",
}

def own_imports(ctx):
    """The import roots of a target itself, relative to the runfiles directory."""
    roots = import_roots(ctx.label, ctx.attr.imports, ctx.workspace_name)

    # Modules of another repository are imported by their path in it, as those of the main repository are.
    return roots + ([ctx.label.repo_name] if ctx.label.repo_name else [])

def collect(ctx, dependencies, data):
    """Combines a target with its dependencies.

    Args:
        ctx: the rule's context.
        dependencies: list of the targets that it imports from.
        data: list of the targets that it needs when it runs.

    Returns:
        A struct of the depsets `sources` and `imports`, and `runfiles`.
    """
    infos = [info for info in [py_info(target) for target in dependencies] if info]
    sources = depset(
        ctx.files.srcs,
        transitive = [info.transitive_sources for info in infos],
        order = "postorder",
    )
    imports = depset(own_imports(ctx), transitive = [info.imports for info in infos])

    # Of a library that is not Python, only the runfiles are needed, and not an archive. A file has no runfiles.
    needed = [target for target in dependencies if py_info(target) or not target[DefaultInfo].default_runfiles] + data
    runfiles = ctx.runfiles(
        transitive_files = depset(transitive = [sources] + [target[DefaultInfo].files for target in needed]),
    )
    return struct(
        sources = sources,
        imports = imports,
        runfiles = runfiles.merge_all([
            target[DefaultInfo].default_runfiles
            for target in dependencies + data
            if target[DefaultInfo].default_runfiles
        ]),
    )

def library_providers(ctx, collected, virtual, extra_source_attributes = []):
    """The providers that libraries and binaries return for those that depend on them."""
    return new_py_infos(collected.sources, collected.imports) + [
        virtual,
        coverage_common.instrumented_files_info(
            ctx,
            source_attributes = ["srcs"] + extra_source_attributes,
            dependency_attributes = ["data", "deps", "resolutions"],
            extensions = ["py"],
        ),
    ]
