"""The actions of an image: writing a layer, validating all layers, and warning about unused groups."""

load(":manifest.bzl", "write_manifest")
load(":partition.bzl", "distributions_by_repository")
load(":program.bzl", "LAYER_MNEMONIC", "arguments", "run_program", "set_values", "write_settings")
load(":rules_img.bzl", "add_layer_metadata")
load(":tables.bzl", "CODECS")

# File extensions of layers, by the value of `compress`.
EXTENSIONS = {"" if row["name"] == "none" else row["name"]: row["extension"] for row in CODECS}

def write_image_settings(ctx, settings, patterns):
    """Declares the action that writes the settings of all layers.

    Args:
        ctx: the rule's context.
        settings: the checked attributes.
        patterns: as for `partition`.

    Returns:
        The file.
    """
    return write_settings(ctx, "settings", {
        "exclude": patterns.exclude,
        "root": settings.root,
        "runfiles_root": settings.runfiles_root,
        "compress": settings.compress or "none",
        "level": settings.level,
        "lazy": settings.lazy,
        "metadata": set_values({
            "uid": settings.owner,
            "gid": settings.group,
            "uname": settings.owner_name,
            "gname": settings.group_name,
            "mtime": settings.mtime,
            "mode": settings.mode,
        }),
        "dedupe": settings.dedupe,
    })

def write_groups(ctx, patterns, runfiles):
    """Declares the action that writes how files are divided among the layers.

    Args:
        ctx: the rule's context.
        patterns: as for `partition`.
        runfiles: what `image_runfiles` returns.

    Returns:
        The file.
    """
    return write_settings(ctx, "groups", {
        "layer_groups": _layer_groups(patterns.own_groups),
        "default_groups": _layer_groups(patterns.default_groups),
    } | ({
        "split": [{"group": group, "layers": count} for group, count in patterns.split.items()],
        "runfiles": runfiles.prefix.removesuffix("/"),
        "distributions": distributions_by_repository(runfiles.found),
    } if patterns.split else {}))

def write_layer(ctx, settings, image, groups, layer, members, wheels):
    """Declares the action that writes one layer.

    Args:
        ctx: the rule's context.
        settings: the checked attributes.
        image: what `write_image_settings` returns.
        groups: what `write_groups` returns.
        layer: the layer's name.
        members: what `partition` returns for the layer.
        wheels: list of File: the wheels that the layer may be lifted from.

    Returns:
        A struct of the files `layer`, `descriptor`, `metadata`, `listing` and `manifest`. `metadata` is the descriptor,
        unless rules_img needs more.
    """
    base = "{}_{}".format(ctx.label.name, layer)
    output = ctx.actions.declare_file(base + EXTENSIONS[settings.compress])
    descriptor = ctx.actions.declare_file(base + ".descriptor.json")
    listing = ctx.actions.declare_file(base + ".mtree")
    manifest = write_manifest(ctx, base, members)

    args = arguments(ctx)
    args.add(layer, format = "--layer=%s")
    args.add(image, format = "--settings=%s")

    # Where nothing is left to decide, the layer does not depend on the groups, which change with every
    # distribution that is added or updated.
    decides = [] if members.is_certain else [groups]
    args.add_all(decides, format_each = "--groups=%s")
    args.add(manifest, format = "--manifest=%s")
    args.add_all(wheels, format_each = "--wheel=%s")
    prefetch = [settings.prefetch] if settings.prefetch else []
    args.add_all(prefetch, format_each = "--prefetch=%s")
    args.add(output, format = "--output=%s")
    args.add(descriptor, format = "--descriptor=%s")
    args.add(listing, format = "--listing=%s")
    metadata = add_layer_metadata(ctx, args, base, layer)
    run_program(
        ctx,
        args,
        inputs = members.files + members.inputs + [manifest, image] + decides + wheels + prefetch,
        outputs = [output, descriptor, listing] + metadata,
        mnemonic = LAYER_MNEMONIC,
        progress_message = "Writing image layer %{output}",
        resource_set = _resources,
    )
    return struct(
        layer = output,
        descriptor = descriptor,
        metadata = metadata[0] if metadata else descriptor,
        listing = listing,
        manifest = manifest,
    )

def write_left_out(ctx, left_out):
    """Declares the action that writes the manifest of the entries in no layer.

    Args:
        ctx: the rule's context.
        left_out: what `partition` returns for `NO_LAYER`.

    Returns:
        The manifest, or `None` if there are no such entries.
    """
    if not left_out.files and not left_out.lines:
        return None
    return write_manifest(ctx, ctx.label.name + ".left_out", left_out)

def validate_layers(ctx, settings, patterns, image, groups, runfiles, layers, left_out):
    """Declares the action that validates the layers, using their listings.

    The expected contents are in the manifests of the layers and of the entries in no layer, which must
    together have as many paths as the runfiles. A separate manifest of all runfiles would be by far the
    largest file to be rewritten when one runfile changes.

    Args:
        ctx: the rule's context.
        settings: the checked attributes.
        patterns: as for `partition`.
        image: what `write_image_settings` returns.
        groups: what `write_groups` returns.
        runfiles: what `image_runfiles` returns.
        layers: dict from layers to what `write_layer` returns.
        left_out: what `write_left_out` returns.

    Returns:
        The report.
    """
    report = ctx.actions.declare_file(ctx.label.name + ".validation")
    manifests = [files.manifest for files in layers.values()] + ([left_out] if left_out else [])
    paths = {path: None for _, path in runfiles.files} | {entry.path: None for entry in runfiles.extra}

    validation_settings = write_settings(ctx, "validation", {
        "dropped": patterns.dropped,
        "validation": ctx.attr.validation,
        "validation_exceptions": settings.validation_exceptions,
        "cpu": runfiles.cpu,
        "paths": len(paths),
        "executables": runfiles.executables + runfiles.runfiles_of_executables,
    })
    args = arguments(ctx)
    args.add(report, format = "--validation=%s")
    args.add(image, format = "--settings=%s")
    args.add(groups, format = "--groups=%s")
    args.add(validation_settings, format = "--validation_settings=%s")
    args.add_all(manifests, format_each = "--manifest=%s")
    prefetch = [settings.prefetch] if settings.prefetch else []
    args.add_all(prefetch, format_each = "--prefetch=%s")
    for layer, files in layers.items():
        args.add(files.listing, format = "--layer_listing=" + layer + "=%s")
    run_program(
        ctx,
        args,
        # The only runfiles needed are trees, to list their files.
        inputs = [files.listing for files in layers.values()] + runfiles.trees + manifests + [image, groups, validation_settings] + prefetch,
        outputs = [report],
        mnemonic = "PyImageLayerValidation",
        progress_message = "Validating image layers %{label}",
    )
    return report

def report_unused_groups(ctx, groups, packages, runfiles_root):
    """Declares the action that warns about groups without files.

    An action's output is shown once, when it runs; print() would repeat the message whenever a server
    analyzes the target. The action's only input is its settings, so editing the binary does not rerun it.

    Args:
        ctx: the rule's context.
        groups: list of the groups' names and patterns.
        packages: normalized names of the packages in the runfiles.
        runfiles_root: the directory of all runfiles, or `None`.

    Returns:
        The report.
    """
    report = ctx.actions.declare_file(ctx.label.name + ".unused_groups")
    settings = write_settings(ctx, "unused_groups", {
        "layer_groups": _layer_groups(groups),
        "packages": sorted(packages),
        "runfiles_root": runfiles_root,
    })
    args = arguments(ctx)
    args.add(report, format = "--unused_groups=%s")
    args.add(settings, format = "--settings=%s")
    run_program(
        ctx,
        args,
        inputs = [settings],
        outputs = [report],
        mnemonic = "PyImageLayerGroups",
        progress_message = "Checking the layer groups of %{label}",
    )
    return report

def _layer_groups(groups):
    return [{"name": name, "pattern": pattern} for name, pattern in groups]

def _resources(os, inputs):  # buildifier: disable=unused-variable
    """The resources of one layer: the program's threads share the processors among all layers."""
    return {"cpu": 1 if inputs < 1000 else 2, "memory": 64 if inputs < 1000 else 250}
