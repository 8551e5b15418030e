"""Rules for images."""

load("//img:providers.bzl", "LayersInfo")
load("//img/private/providers:layer_config_info.bzl", "ImageLayerConfigInfo")
load("//img/private/providers:single_layer_info.bzl", "FIELDS")

def _described(value):
    return value.path if type(value) == "File" else value

def _image_manifest_impl(ctx):
    layers = [layer for target in ctx.attr.layers for layer in target[LayersInfo].layers]
    configs = [target[ImageLayerConfigInfo] for target in ctx.attr.layers]
    manifest = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(manifest, json.encode({
        "layers": [{field: _described(getattr(layer, field)) for field in FIELDS} for layer in layers],
        "configs": [
            {name: getattr(config, name) for name in ["cmd", "entrypoint", "env", "working_dir"]}
            for config in configs
        ],
    }))
    return DefaultInfo(files = depset([manifest] + [layer.metadata for layer in layers]))

image_manifest = rule(
    implementation = _image_manifest_impl,
    attrs = {"layers": attr.label_list(providers = [[LayersInfo, ImageLayerConfigInfo]])},
)
