"""How actions run the program."""

load(":toolchain.bzl", "TOOLCHAIN_TYPE")

LAYER_MNEMONIC = "PyImageLayer"

_EXECUTION_REQUIREMENTS = {
    "supports-multiplex-sandboxing": "1",
    "supports-multiplex-workers": "1",
    "supports-worker-cancellation": "1",
    "supports-workers": "1",
    # One worker process serves all kinds of actions, so they share its caches.
    "worker-key-mnemonic": LAYER_MNEMONIC,
}

def write_settings(ctx, kind, settings):
    """Declares the action that writes settings as JSON; `None` means the default value.

    Args:
        ctx: the rule's context.
        kind: part of the file's name.
        settings: dict.

    Returns:
        The file.
    """
    file = ctx.actions.declare_file("{}.{}.json".format(ctx.label.name, kind))
    ctx.actions.write(file, json.encode(set_values(settings)) + "\n")
    return file

def set_values(settings):
    """The settings that are not `None`."""
    return {name: value for name, value in settings.items() if value != None}

def arguments(ctx):
    """Arguments in a flagfile. Bazel expands lines that begin with @, so every line begins with --."""
    return ctx.actions.args().set_param_file_format("multiline").use_param_file("@%s", use_always = True)

def run_program(ctx, args, **kwargs):
    """Declares an action that runs the program, in a worker if possible.

    Args:
        ctx: the rule's context.
        args: what `arguments` returned.
        **kwargs: of `ctx.actions.run`.
    """
    ctx.actions.run(
        executable = ctx.toolchains[TOOLCHAIN_TYPE].pylayer,
        arguments = [args],
        execution_requirements = _EXECUTION_REQUIREMENTS,
        toolchain = TOOLCHAIN_TYPE,
        **kwargs
    )
