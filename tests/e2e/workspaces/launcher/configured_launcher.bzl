"""Configures the launcher of the target platform, as a rule for binaries does."""

_PYLAYER = "@rules_pylayer//bazel:toolchain_type"
_LAUNCHER = "@rules_pylayer//bazel:launcher_toolchain_type"

def _configured_launcher_impl(ctx):
    toolchain = ctx.toolchains[_LAUNCHER]
    if not toolchain:
        fail("there is no launcher for the platform")
    settings = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(settings, json.encode({"venv": "_main/venv", "main": "_main/main.py"}))
    output = ctx.actions.declare_file(ctx.label.name + "_configured")
    arguments = ctx.actions.args()
    arguments.use_param_file("@%s", use_always = True)
    arguments.set_param_file_format("multiline")
    arguments.add(toolchain.launcher, format = "--launcher=%s")
    arguments.add(settings, format = "--settings=%s")
    arguments.add(output, format = "--output=%s")
    ctx.actions.run(
        executable = ctx.toolchains[_PYLAYER].pylayer,
        arguments = [arguments],
        inputs = [toolchain.launcher, settings],
        outputs = [output],
        mnemonic = "PyLauncher",
    )
    return [DefaultInfo(files = depset([output]))]

configured_launcher = rule(
    implementation = _configured_launcher_impl,
    toolchains = [
        _PYLAYER,
        config_common.toolchain_type(_LAUNCHER, mandatory = False),
    ],
)
