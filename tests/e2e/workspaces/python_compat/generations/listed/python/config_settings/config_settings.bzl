"""Up to 0.29: a flag that takes versions of three numbers."""

load("@bazel_skylib//rules:common_settings.bzl", "string_flag")

# buildifier: disable=unnamed-macro
def declare_settings(python_versions):
    """Declares the flag and a setting for each version.

    Args:
        python_versions: list of the versions.
    """
    string_flag(
        name = "python_version",
        build_setting_default = python_versions[0],
        values = python_versions,
        visibility = ["//visibility:public"],
    )

    for version in python_versions:
        native.config_setting(
            name = "is_python_" + version,
            flag_values = {":python_version": version},
            visibility = ["//visibility:public"],
        )
