"""The report about an image: a page, and the contents of its layers as JSON."""

load(":command.bzl", "link_program")
load(":partition.bzl", "NO_LAYER", "distributions_by_repository")
load(":program.bzl", "arguments", "run_program", "set_values", "write_settings")
load(":toolchain.bzl", "TOOLCHAIN_TYPE")

PyImageReportInfo = provider(
    doc = "The report about the layers of an image.",
    fields = {
        "contents": "File: what the layers contain, as JSON.",
        "page": "File: the page, as HTML.",
    },
)

def write_report(ctx, settings, patterns, raw_groups, image, groups, runfiles, layers, members, left_out):
    """Declares the action that describes the layers. Bazel runs it only if its outputs are requested.

    Args:
        ctx: the rule's context.
        settings: the checked attributes.
        patterns: as for `partition`.
        raw_groups: names and patterns of the user's own groups, as in the BUILD file.
        image: what `write_image_settings` returns.
        groups: what `write_groups` returns.
        runfiles: what `image_runfiles` returns.
        layers: dict from the layers in the image to what `write_layer` returns.
        members: what `partition` returns.
        left_out: the manifest of the entries in no layer, or `None`.

    Returns:
        The `PyImageReportInfo`.
    """
    page = ctx.actions.declare_file(ctx.label.name + ".report.html")
    contents = ctx.actions.declare_file(ctx.label.name + ".contents.json")
    own_excludes = len(settings.exclude) - settings.tar_args_excludes
    attributes = ["tar_args"] * settings.tar_args_excludes + ["exclude"] * own_excludes
    report_settings = write_settings(ctx, "target", {
        "target": set_values({
            "label": str(ctx.label).removeprefix("@@").removeprefix("@"),
            # Or BUILD, which `tune` tries, too. ctx.build_file_path would tell, but is deprecated, and an error with
            # --incompatible_stop_exporting_build_file_path.
            "build_file": "/".join([part for part in [ctx.label.package, "BUILD.bazel"] if part]),
            "layer_groups": [{"name": name, "pattern": pattern} for name, pattern in raw_groups],
            "exclude": [
                {"attribute": attribute, "pattern": pattern}
                for attribute, pattern in zip(attributes, settings.exclude)
            ],
            "cpu": runfiles.cpu,
            "max_layers": settings.max_layers,
        }),
        "dropped": patterns.dropped,

        # The groups have these only if some are split.
        "runfiles": runfiles.prefix.removesuffix("/"),
        "distributions": distributions_by_repository(runfiles.found),
    })

    # Excluded paths may be in the manifests of layers about whose members the rule is not certain.
    uncertain = {layer: files for layer, files in layers.items() if not members[layer].is_certain}
    with_excluded = [members[layer] for layer in uncertain] + [members[NO_LAYER]]
    manifests = [files.manifest for files in uncertain.values()] + ([left_out] if left_out else [])

    args = arguments(ctx)
    args.add(page, format = "--report=%s")
    args.add(contents, format = "--contents=%s")
    args.add(image, format = "--settings=%s")
    args.add(groups, format = "--groups=%s")
    args.add(report_settings, format = "--report_settings=%s")
    args.add_all(manifests, format_each = "--manifest=%s")
    for layer, files in layers.items():
        args.add(files.layer, format = "--layer_file=" + layer + "=%s")
        args.add(files.listing, format = "--layer_listing=" + layer + "=%s")
    run_program(
        ctx,
        args,
        inputs = depset(
            [image, groups, report_settings] + manifests +
            [file for files in layers.values() for file in [files.layer, files.listing]] +
            [file for member in with_excluded for file in member.files + member.inputs],
        ),
        outputs = [page, contents],
        mnemonic = "PyImageLayerReport",
        progress_message = "Describing image layers %{label}",
    )
    return PyImageReportInfo(page = page, contents = contents)

def _report_command_impl(ctx):
    report = ctx.attr.layers[PyImageReportInfo]
    return [
        DefaultInfo(executable = link_program(ctx), runfiles = ctx.runfiles([report.page, report.contents])),
        # The files are next to the executable. There may be no runfiles tree.
        RunEnvironmentInfo(environment = {
            "PYLAYER_COMMAND": ctx.attr.command,
            "PYLAYER_PAGE": report.page.basename,
            "PYLAYER_CONTENTS": report.contents.basename,
        }),
    ]

report_command = rule(
    implementation = _report_command_impl,
    doc = "A command for `bazel run` that uses the report about an image.",
    attrs = {
        "command": attr.string(doc = "The name of the program's command.", mandatory = True),
        "layers": attr.label(doc = "The layers.", mandatory = True, providers = [PyImageReportInfo]),
    },
    executable = True,
    toolchains = [TOOLCHAIN_TYPE],
)
