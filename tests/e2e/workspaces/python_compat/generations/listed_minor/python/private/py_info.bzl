"""From 0.31 on: a provider of its own, which checks its fields."""

def _init(
        *,
        transitive_sources,
        uses_shared_libraries = False,
        imports = depset(),
        has_py2_only_sources = False,
        has_py3_only_sources = False):
    if type(transitive_sources) != "depset" or type(imports) != "depset":
        fail("PyInfo: transitive_sources and imports must be depsets")

    # Fails unless the orders are compatible.
    depset(transitive = [transitive_sources], order = "postorder")
    return {
        "has_py2_only_sources": has_py2_only_sources,
        "has_py3_only_sources": has_py3_only_sources,
        "imports": imports,
        "transitive_sources": transitive_sources,
        "uses_shared_libraries": uses_shared_libraries,
    }

PyInfo, _ = provider(
    doc = "What Python targets need.",
    fields = [
        "has_py2_only_sources",
        "has_py3_only_sources",
        "imports",
        "transitive_sources",
        "uses_shared_libraries",
    ],
    init = _init,
)
