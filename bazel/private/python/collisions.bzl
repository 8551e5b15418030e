"""The action that compares files with the same path in several distributions."""

load("//bazel/private:program.bzl", "arguments", "run_program", "write_settings")

def check_collisions(ctx, policy, duplicates):
    """Declares the action, if there is something to compare.

    Args:
        ctx: the rule's context.
        policy: the attribute `package_collisions`.
        duplicates: as in `lay_out`.

    Returns:
        A list of its reports, for the output group `_validation`.
    """
    if policy == "ignore" or not duplicates:
        return []
    report = ctx.actions.declare_file(ctx.label.name + ".collisions")
    settings = write_settings(ctx, "collisions", {
        "policy": policy,
        "collisions": [
            {"path": duplicate.path, "chosen": duplicate.chosen.path, "other": duplicate.other.path}
            for duplicate in duplicates
        ],
    })
    args = arguments(ctx)
    args.add(report, format = "--package_collisions=%s")
    args.add(settings, format = "--settings=%s")
    run_program(
        ctx,
        args,
        inputs = [settings] + [file for duplicate in duplicates for file in [duplicate.chosen, duplicate.other]],
        outputs = [report],
        mnemonic = "PyPackageCollisions",
        progress_message = "Comparing files of distributions of %{label}",
    )
    return [report]
