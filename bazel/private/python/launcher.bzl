"""The action that configures the launcher of a binary."""

load("//bazel/private:program.bzl", "arguments", "run_program", "write_settings")
load("//bazel/private:toolchain.bzl", "LAUNCHER_TOOLCHAIN_TYPE")

def write_launcher(ctx, output, kind, venv, main, options, env = {}):
    """Declares the action.

    Args:
        ctx: the rule's context.
        output: the executable.
        kind: part of the name of the file with its settings.
        venv: path of the virtual environment, relative to the runfiles directory.
        main: path of the main file, likewise.
        options: list of the interpreter's options.
        env: variables to set unless they are set already.
    """
    toolchain = ctx.toolchains[LAUNCHER_TOOLCHAIN_TYPE]
    if not toolchain:
        fail("{}: there is no launcher for the target platform. Launchers exist for Linux on x86_64 and aarch64, and are built from source where rustc has the target's core library (rustup target add). See docs/python_rules.md".format(ctx.label))
    settings = write_settings(ctx, kind, {
        "venv": venv,
        "main": main,
        "options": options,
        "env": env,
    })
    args = arguments(ctx)
    args.add(toolchain.launcher, format = "--launcher=%s")
    args.add(settings, format = "--settings=%s")
    args.add(output, format = "--output=%s")
    run_program(
        ctx,
        args,
        inputs = [toolchain.launcher, settings],
        outputs = [output],
        mnemonic = "PyLauncher",
        progress_message = "Writing launcher %{output}",
    )
