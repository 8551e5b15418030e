"""A rule that writes down which layers an image has."""

load("@rules_pylayer//bazel:defs.bzl", "PyImageLayersInfo")

def _layer_report_impl(ctx):
    info = ctx.attr.layers[PyImageLayersInfo]
    report = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(report, json.encode({
        "entrypoint": info.entrypoint,
        "layers": [[layer.name, layer.file.path] for layer in info.layers],
    }))
    return DefaultInfo(files = depset([report] + [layer.descriptor for layer in info.layers]))

layer_report = rule(
    implementation = _layer_report_impl,
    attrs = {"layers": attr.label(providers = [PyImageLayersInfo])},
)
