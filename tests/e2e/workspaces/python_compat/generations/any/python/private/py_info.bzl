"""From 0.36 on: a provider with more fields, all of which have defaults."""

_DEPSETS = [
    "direct_original_sources",
    "direct_pyc_files",
    "direct_pyi_files",
    "imports",
    "transitive_implicit_pyc_files",
    "transitive_implicit_pyc_source_files",
    "transitive_original_sources",
    "transitive_pyc_files",
    "transitive_pyi_files",
    "transitive_sources",
]
_FLAGS = [
    "has_py2_only_sources",
    "has_py3_only_sources",
    "uses_shared_libraries",
]

def _init(*, transitive_sources, **kwargs):
    depset(transitive = [transitive_sources], order = "postorder")
    fields = {name: depset() for name in _DEPSETS} | {name: False for name in _FLAGS}
    for name, value in kwargs.items():
        if name not in fields or type(value) != type(fields[name]):
            fail("PyInfo: {} = {}".format(name, value))
    return fields | kwargs | {"transitive_sources": transitive_sources}

PyInfo, _ = provider(
    doc = "What Python targets need.",
    fields = _DEPSETS + _FLAGS,
    init = _init,
)
