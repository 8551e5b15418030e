"""Setup for workspaces without `MODULE.bazel`.

```starlark
load("@rules_pylayer//bazel:repositories.bzl", "pylayer_register_toolchains")

pylayer_register_toolchains()
```

The workspace also needs a repository `platforms`, which every release of Bazel provides.
"""

load(
    "//bazel/private:pylayer_repository.bzl",
    "pylayer_path_repository",
    "pylayer_prebuilt_repository",
    "pylayer_source_repository",
)

def pylayer_register_toolchains(name = "pylayer_toolchains", path = None, urls = None, sha256 = None):
    """Provides and registers the `pylayer` program.

    It is built from source with the host's cargo, unless `path` or `urls` is given.

    Args:
        name: Name of the repository that contains it.
        path: Absolute path of an installed program.
        urls: URLs of the program, by platform: `{"linux-x86_64": "…"}`.
        sha256: SHA-256 of the downloads, by platform.
    """
    if urls:
        pylayer_prebuilt_repository(name = name, urls = urls, sha256 = sha256)
    elif path:
        pylayer_path_repository(name = name, path = path)
    else:
        pylayer_source_repository(name = name)
    native.register_toolchains("@{}//:all".format(name))
