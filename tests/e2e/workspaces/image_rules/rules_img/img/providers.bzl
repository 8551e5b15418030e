"""The public providers."""

load("//img/private/providers:single_layer_info.bzl", _SingleLayerInfo = "SingleLayerInfo")

LayersInfo = provider(
    doc = "Several layers.",
    fields = {"layers": "From bottom to top."},
)
SingleLayerInfo = _SingleLayerInfo
