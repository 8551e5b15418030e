"""The repository `pylayer_image_rules`: what `py_image_layer` must know about rule sets for images."""

_NONE = """\
\"\"\"What is known about rules_img in this build: nothing.\"\"\"

RULES_IMG = None
"""

_RULES_IMG = """\
\"\"\"What is known about rules_img in this build.\"\"\"

load({bzl}, "LayersInfo", "SingleLayerInfo")
load({layer_config}, "ImageLayerConfigInfo")
load({layer}, "FIELDS")

RULES_IMG = struct(
    LayersInfo = LayersInfo,
    SingleLayerInfo = SingleLayerInfo,
    ImageLayerConfigInfo = ImageLayerConfigInfo,
    # The fields of SingleLayerInfo depend on the version. All must be set.
    layer_fields = FIELDS.keys(),
    # Since 0.3.16, the metadata of a layer contains its history, which earlier versions reject.
    has_history = "history" in FIELDS["metadata"],
)
"""

# The file that exports ImageLayerConfigInfo, which no public file does, and the one with the fields of
# SingleLayerInfo.
_LAYER_CONFIG = "//img/private/providers:layer_config_info.bzl"
_LAYER = "//img/private/providers:single_layer_info.bzl"

def _pylayer_image_rules_impl(rctx):
    rctx.file("BUILD.bazel", "")
    if not rctx.attr.rules_img:
        rctx.file("defs.bzl", _NONE)
        return
    bzl = str(rctx.attr.rules_img)
    repository = bzl.partition("//")[0]
    for file in [_LAYER_CONFIG, _LAYER]:
        path = rctx.path(Label(repository + file))
        rctx.watch(path)
        if not path.exists:
            fail("pylayer: the tag or argument rules_img requires rules_img 0.3.10 to 0.3.19; {} does not exist".format(repository + file))
    rctx.file("defs.bzl", _RULES_IMG.format(
        bzl = repr(bzl),
        layer = repr(repository + _LAYER),
        layer_config = repr(repository + _LAYER_CONFIG),
    ))

pylayer_image_rules_repository = repository_rule(
    implementation = _pylayer_image_rules_impl,
    doc = "What `py_image_layer` must know about rule sets for images.",
    attrs = {
        "rules_img": attr.label(doc = "The file of rules_img that exports its providers, if targets are to return them."),
    },
)
