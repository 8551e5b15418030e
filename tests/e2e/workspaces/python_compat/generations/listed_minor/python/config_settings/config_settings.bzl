"""From 0.30 on: the flag takes versions of two numbers, too."""

load("@bazel_skylib//rules:common_settings.bzl", "string_flag")
load("//python:versions.bzl", "MINOR_MAPPING")

def declare_settings(name, python_versions):
    """Declares the flag and settings.

    Args:
        name: of no use.
        python_versions: list of the versions.
    """
    values = python_versions + [version.rpartition(".")[0] for version in python_versions]

    string_flag(
        name = "python_version",
        # No version.
        build_setting_default = "",
        values = [""] + sorted(values),
        visibility = ["//visibility:public"],
    )

    for minor, version in MINOR_MAPPING.items():
        native.config_setting(
            name = "is_{}_{}".format(name, minor),
            flag_values = {":python_version": version},
        )
