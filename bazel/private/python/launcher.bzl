"""The action that configures the launcher of a binary."""

load("//bazel/private:program.bzl", "arguments", "run_program", "write_settings")
load("//bazel/private:toolchain.bzl", "LAUNCHER_TOOLCHAIN_TYPE")

def write_launcher(ctx, output, kind, venv, main, options, env = {}, python_version = None, patchlevel = None):
    """Declares the action.

    Args:
        ctx: the rule's context.
        output: the executable.
        kind: part of the name of the file with its settings.
        venv: path of the virtual environment, relative to the runfiles directory.
        main: path of the main file, likewise.
        options: list of the interpreter's options.
        env: variables to set unless they are set already.
        python_version: the version that the interpreter must have, which `patchlevel` decides.
        patchlevel: the interpreter's header patchlevel.h, or `None`.
    """
    toolchain = ctx.toolchains[LAUNCHER_TOOLCHAIN_TYPE]
    if not toolchain:
        fail("{}: there is no launcher for the target platform. Launchers exist for Linux on x86_64 and aarch64. A release has both; otherwise, they are built from source where rustc has the target's core library (rustup target add), or named by launcher of pylayer.path and launcher_url of pylayer.prebuilt. See docs/python_rules.md".format(ctx.label))
    settings = write_settings(ctx, kind, {
        "venv": venv,
        "main": main,
        "options": options,
        "env": env,
        "python_version": python_version if patchlevel else None,
    })
    args = arguments(ctx)
    args.add(toolchain.launcher, format = "--launcher=%s")
    args.add(settings, format = "--settings=%s")
    args.add(output, format = "--output=%s")
    if patchlevel:
        args.add(patchlevel, format = "--patchlevel=%s")
    run_program(
        ctx,
        args,
        inputs = [toolchain.launcher, settings] + ([patchlevel] if patchlevel else []),
        outputs = [output],
        mnemonic = "PyLauncher",
        progress_message = "Writing launcher %{output}",
    )
