"""Manifests: which image paths a layer may contain, and where their contents come from."""

def manifest_line(kind, *fields):
    """Formats a line of a manifest, as described in src/manifest.rs.

    Args:
        kind: the letter for the kind of entry.
        *fields: the other fields.

    Returns:
        The line.
    """
    return "\t".join([kind] + [_escape(field) for field in fields])

def _escape(field):
    if "\\" in field or "\t" in field or "\n" in field:
        return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return field

def write_manifest(ctx, base, members):
    """Declares the action that writes the manifest of a layer, or of the paths left out of all layers.

    Args:
        ctx: the rule's context.
        base: the file's name, without the extension.
        members: the layer's struct from `partition`.

    Returns:
        The manifest.
    """
    manifest = ctx.actions.declare_file(base + ".manifest")
    lines = ctx.actions.args().set_param_file_format("multiline")
    lines.add_all(members.lines)
    lines.add_all(members.files, map_each = members.map_file, expand_directories = False, allow_closure = True)
    ctx.actions.write(manifest, lines)
    return manifest
