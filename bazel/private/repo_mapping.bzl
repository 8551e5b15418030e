"""The action that merges the repository mappings of several binaries."""

load(":program.bzl", "arguments", "run_program")

def merge_repo_mappings(ctx, mappings):
    """Declares the action.

    Args:
        ctx: the rule's context.
        mappings: list of File.

    Returns:
        The file with all lines.
    """
    merged = ctx.actions.declare_file(ctx.label.name + ".repo_mapping")
    args = arguments(ctx)
    args.add(merged, format = "--merged_repo_mapping=%s")
    args.add_all(mappings, format_each = "--repo_mapping=%s")
    run_program(
        ctx,
        args,
        inputs = mappings,
        outputs = [merged],
        mnemonic = "PyImageRepoMapping",
        progress_message = "Merging repository mappings of %{label}",
    )
    return merged
