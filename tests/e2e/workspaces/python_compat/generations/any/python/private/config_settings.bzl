"""From 0.36 on: a flag that takes any value."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")
load("//python:versions.bzl", "MINOR_MAPPING")

_FLAG = Label("//python/config_settings:python_version")

def _python_version_flag_impl(ctx):
    return [
        BuildSettingInfo(value = ctx.build_setting_value),
        config_common.FeatureFlagInfo(value = ctx.build_setting_value),
    ]

_python_version_flag = rule(
    implementation = _python_version_flag_impl,
    build_setting = config.string(flag = True),
)

def declare_settings(name, versions):
    """Declares the flag and settings.

    Args:
        name: of no use.
        versions: list of the versions.
    """
    _python_version_flag(
        name = _FLAG.name,
        build_setting_default = "",
        visibility = ["//visibility:public"],
    )

    for version in versions + MINOR_MAPPING.keys():
        native.config_setting(
            name = "is_{}_{}".format(name, version),
            flag_values = {str(_FLAG): version},
            constraint_values = [],
        )
