"""What `py_image_layer` returns to rules_img, if the build names it: see `pylayer.rules_img`."""

load("@pylayer_image_rules//:defs.bzl", "RULES_IMG")
load(":tables.bzl", "CODECS")

# Media types of layers, by the value of `compress`.
_MEDIA_TYPES = {"" if row["name"] == "none" else row["name"]: row["media_type"] for row in CODECS}

def add_layer_metadata(ctx, args, base, layer):
    """Adds an output to the action that writes a layer: its metadata for rules_img.

    Args:
        ctx: the rule's context.
        args: the action's arguments.
        base: what the names of the layer's files begin with.
        layer: the layer's name.

    Returns:
        A list of the file, which is empty if the descriptor is all that rules_img needs.
    """
    if not RULES_IMG or not RULES_IMG.has_history:
        return []
    metadata = ctx.actions.declare_file(base + ".metadata.json")
    args.add(metadata, format = "--layer_metadata=%s")

    # A label in the main repository begins with @@//, or in a WORKSPACE with @//.
    repository, _, target = str(ctx.label).partition("//")
    args.add("--created_by=bazel build {}//{} ({})".format(repository if repository.strip("@") else "", target, layer))
    return [metadata]

def rules_img_providers(layers, compress, config):
    """The providers of a `py_image_layer`.

    Args:
        layers: what `write_layer` returns for each layer in the image, in image order.
        compress: the attribute.
        config: the image's configuration: `entrypoint`, `cmd`, `env`, `working_dir`.

    Returns:
        A list, which is empty if the build does not name rules_img.
    """
    if not RULES_IMG:
        return []
    single_layers = []
    for files in layers:
        values = {
            "blob": files.layer,
            "metadata": files.metadata,
            "media_type": _MEDIA_TYPES[compress],
            "estargz": False,
            "sources": [],
        }

        # The other fields are for files that rules_img makes itself if something asks for them.
        single_layers.append(RULES_IMG.SingleLayerInfo(**{field: values.get(field) for field in RULES_IMG.layer_fields}))
    return [
        RULES_IMG.LayersInfo(layers = single_layers),
        RULES_IMG.ImageLayerConfigInfo(
            entrypoint = config.entrypoint,
            cmd = config.cmd,
            env = config.env,
            working_dir = config.working_dir,
        ),
    ]
