"""The flags for versions of Python. They load nothing, since the toolchain types are in the same package."""

def _version_flag_impl(ctx):
    return [config_common.FeatureFlagInfo(value = ctx.build_setting_value)]

python_version_flag = rule(
    implementation = _version_flag_impl,
    doc = "A version of Python: X.Y, X.Y.Z, or empty for the default.",
    build_setting = config.string(flag = True),
)

def _minor_version_impl(ctx):
    version = ctx.attr.version[config_common.FeatureFlagInfo].value
    return [config_common.FeatureFlagInfo(value = ".".join(version.split(".")[:2]))]

python_minor_version = rule(
    implementation = _minor_version_impl,
    doc = "The X.Y of a version of Python, for `flag_values` of a `config_setting`.",
    attrs = {"version": attr.label(mandatory = True, providers = [config_common.FeatureFlagInfo])},
)

def _internal_flag_impl(_ctx):
    return []

_internal_flag = rule(
    implementation = _internal_flag_impl,
    build_setting = config.string(),
)

def outer_versions_flag(name):
    """Declares the flag with the versions outside of a binary that asks for one.

    Args:
        name: its name.
    """
    _internal_flag(name = name, build_setting_default = "")
