"""Setup for workspaces without `MODULE.bazel`.

```starlark
load("@rules_pylayer//bazel:repositories.bzl", "pylayer_register_toolchains")

pylayer_register_toolchains()
```

The workspace also needs a repository `platforms`, which every release of Bazel provides. The Python rules
(`python.bzl`) also need `rules_python`; `py_image_layer` does not.
"""

load("//bazel/private:image_rules_repository.bzl", "pylayer_image_rules_repository")
load(
    "//bazel/private:pylayer_repository.bzl",
    "pylayer_default_repositories",
    "pylayer_path_repository",
    "pylayer_prebuilt_repositories",
    "pylayer_source_repository",
)
load("//bazel/private/python:repository.bzl", "pylayer_python_repository")

def pylayer_register_toolchains(
        name = "pylayer_toolchains",
        path = None,
        urls = None,
        sha256 = None,
        launcher = None,
        launcher_urls = None,
        launcher_sha256 = None,
        py_infos = [],
        rules_img = None,
        source = False):
    """Provides and registers the `pylayer` program and the launcher of Python binaries.

    By default, those of the release are downloaded. Where there is no released program, as in a checkout, they are built
    from source with the host's Rust. `path`, `urls` and `source` change that.

    Args:
        name: Name of the repository that contains them.
        path: Absolute path of an installed program.
        urls: URLs of the program, by platform: `{"linux-x86_64": "…"}`.
        sha256: SHA-256 of the downloads, by platform.
        launcher: With `path`, the absolute path of the launcher, not configured, for Linux on the host's CPU. By
            default, the launcher is built from source if the host has rustc.
        launcher_urls: With `urls`, URLs of the launcher, by target platform. By default, there is no launcher.
        launcher_sha256: SHA-256 of these downloads, by platform.
        py_infos: Providers like PyInfo of further rule sets, to read and to return. Each is a dict with the attributes
            of the tag `pylayer.py_info`: `bzl`, `symbol` (`"PyInfo"` by default) and `depsets`. `bzl` begins with the
            repository: `"@aspect_rules_py//py:defs.bzl"`.
        rules_img: `@rules_img//img:providers.bzl`, to use the layers with rules_img 0.3.10 or later. Has the effect of
            the tag `pylayer.rules_img`.
        source: Whether to build them from source even if this is a release.
    """
    if len([choice for choice in [path, urls, source] if choice]) > 1:
        fail("pylayer_register_toolchains: path, urls and source cannot be combined")
    if sha256 and not urls:
        fail("pylayer_register_toolchains: sha256 requires urls")
    if launcher and (urls or not path):
        fail("pylayer_register_toolchains: launcher requires path")
    if (launcher_urls or launcher_sha256) and not urls:
        fail("pylayer_register_toolchains: launcher_urls and launcher_sha256 require urls")
    if urls:
        pylayer_prebuilt_repositories(
            name = name,
            urls = urls,
            sha256 = sha256,
            launcher_urls = launcher_urls,
            launcher_sha256 = launcher_sha256,
        )
    elif path:
        pylayer_path_repository(name = name, path = path, launcher = launcher)
    elif source:
        pylayer_source_repository(name = name)
    else:
        pylayer_default_repositories(name = name)

    # Needs rules_python, but only once python.bzl is loaded.
    if not native.existing_rule("pylayer_python"):
        pylayer_python_repository(
            name = "pylayer_python",
            providers = [_provider(**info) for info in py_infos],
        )
    elif py_infos:
        fail("pylayer_register_toolchains: py_infos must be in the first call")
    if rules_img or not native.existing_rule("pylayer_image_rules"):
        pylayer_image_rules_repository(name = "pylayer_image_rules", rules_img = rules_img)
    native.register_toolchains("@{}//:all".format(name))

def _provider(bzl, symbol = "PyInfo", depsets = []):
    return json.encode([bzl, symbol, depsets])
