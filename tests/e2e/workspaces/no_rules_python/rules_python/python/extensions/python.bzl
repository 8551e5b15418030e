"""Is not to be evaluated."""

def _python_impl(_mctx):
    fail("rules_python's extension is evaluated")

python = module_extension(
    implementation = _python_impl,
    tag_classes = {"toolchain": tag_class()},
)
