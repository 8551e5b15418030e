"""Expands `$(location …)` and variables in attributes."""

def expand(ctx, attribute, value):
    """Expands a value, with the variables that aspect_rules_py adds to Bazel's.

    Args:
        ctx: the context of a binary's rule.
        attribute: its name, for messages.
        value: a string.

    Returns:
        The expanded string.
    """
    parts = [ctx.bin_dir.path, ctx.label.workspace_root, ctx.label.package]

    # Bazel crashes on a label that occurs twice.
    targets = {target.label: target for target in ctx.attr.deps + ctx.attr.srcs + ctx.attr.data}.values()
    return ctx.expand_make_variables(attribute, ctx.expand_location(value, targets), {
        "RULEDIR": "/".join([part for part in parts if part]),
        "TARGET": str(ctx.label).lstrip("@"),
        "WORKSPACE": ctx.workspace_name,
    })
