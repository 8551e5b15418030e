"""Version 2: a provider of its own, whose four fields are mandatory."""

load(":targets.bzl", "SOURCE_ATTRIBUTES", "WHEEL_ATTRIBUTES", "binary", "library", "wheel")

PyInfo = provider(
    doc = "What Python targets need.",
    fields = [
        "imports",
        "transitive_sources",
        "virtual_dependencies",
        "virtual_resolutions",
    ],
)

def _new_info(imports, transitive_sources):
    return PyInfo(
        imports = imports,
        transitive_sources = transitive_sources,
        virtual_dependencies = depset(),
        virtual_resolutions = depset(),
    )

def _virtual(ctx):
    """Fails if a dependency lacks a field."""
    for target in ctx.attr.deps:
        depset(transitive = [target[PyInfo].virtual_dependencies, target[PyInfo].virtual_resolutions])

def _py_library_impl(ctx):
    _virtual(ctx)
    return library(ctx, _new_info, PyInfo)

def _py_binary_impl(ctx):
    _virtual(ctx)
    return binary(ctx, _new_info, PyInfo)

def _whl_install_impl(ctx):
    return wheel(ctx, _new_info, PyInfo)

py_library = rule(
    implementation = _py_library_impl,
    attrs = SOURCE_ATTRIBUTES,
)

py_binary = rule(
    implementation = _py_binary_impl,
    attrs = SOURCE_ATTRIBUTES,
    executable = True,
)

whl_install = rule(
    implementation = _whl_install_impl,
    attrs = WHEEL_ATTRIBUTES,
)
