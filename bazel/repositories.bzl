"""For workspaces without `MODULE.bazel`.

```starlark
load("@rules_pylayer//bazel:repositories.bzl", "pylayer_register_toolchains")

pylayer_register_toolchains()
```

The workspace also needs a repository `platforms`, which every release of Bazel brings along.
"""

load(
    "//bazel/private:pylayer_repository.bzl",
    "pylayer_path_repository",
    "pylayer_prebuilt_repository",
    "pylayer_source_repository",
)

def pylayer_register_toolchains(name = "pylayer_toolchains", path = None, urls = None, sha256 = None):
    """Provides and registers the `pylayer` program.

    It is built from source with the host's cargo, unless `path` or `urls` say otherwise.

    Args:
        name: Name of the repository that holds it.
        path: Absolute path of the program on the machine.
        urls: Where to download the program, by platform: `{"linux-x86_64": "…"}`.
        sha256: The downloads' digests, by platform.
    """
    if urls:
        pylayer_prebuilt_repository(name = name, urls = urls, sha256 = sha256)
    elif path:
        pylayer_path_repository(name = name, path = path)
    else:
        pylayer_source_repository(name = name)
    native.register_toolchains("@{}//:all".format(name))
