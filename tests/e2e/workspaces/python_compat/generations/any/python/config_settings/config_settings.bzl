"""From 0.32 on: in another file."""

# The folder `python` of a repository. buildifier: disable=bzl-visibility
load("//python/private:config_settings.bzl", _declare_settings = "declare_settings")

declare_settings = _declare_settings
