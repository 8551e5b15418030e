"""The module extension that provides the `pylayer` program.

By default, the program is built from this module's source with the host's cargo. A root module can change
that with one tag, or with several `prebuilt` tags for several execution platforms:

```starlark
pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")
pylayer.path(path = "/opt/pylayer/bin/pylayer")
```
"""

load(
    "//bazel/private:pylayer_repository.bzl",
    "PLATFORMS",
    "pylayer_path_repository",
    "pylayer_prebuilt_repository",
    "pylayer_source_repository",
)

_REPOSITORY = "pylayer_toolchains"

_source = tag_class(
    doc = "Build the program from this module's source with the host's cargo. This is the default.",
)

_path = tag_class(
    doc = "Use a program that is installed on the machine.",
    attrs = {"path": attr.string(mandatory = True, doc = "Absolute path.")},
)

_prebuilt = tag_class(
    doc = "Download the program. One tag per execution platform.",
    attrs = {
        "platform": attr.string(
            doc = "The platform that it runs on.",
            mandatory = True,
            values = PLATFORMS,
        ),
        "sha256": attr.string(mandatory = True, doc = "SHA-256 of the download, in hexadecimal."),
        "url": attr.string(mandatory = True, doc = "The URL of the program."),
    },
)

def _pylayer_impl(mctx):
    # Only the root module can know the machines that run its actions.
    roots = [module for module in mctx.modules if module.is_root]
    tags = roots[0].tags if roots else struct(source = [], path = [], prebuilt = [])
    singles = [("source", tag) for tag in tags.source] + [("path", tag) for tag in tags.path]
    if len(singles) > 1 or (singles and tags.prebuilt):
        fail("pylayer: use one source or path tag, or prebuilt tags; they cannot be combined")
    if tags.prebuilt:
        pylayer_prebuilt_repository(
            name = _REPOSITORY,
            urls = {tag.platform: tag.url for tag in tags.prebuilt},
            sha256 = {tag.platform: tag.sha256 for tag in tags.prebuilt},
        )
    elif tags.path:
        pylayer_path_repository(name = _REPOSITORY, path = tags.path[0].path)
    else:
        pylayer_source_repository(name = _REPOSITORY)

pylayer = module_extension(
    implementation = _pylayer_impl,
    doc = "Provides the `pylayer` program.",
    tag_classes = {"path": _path, "prebuilt": _prebuilt, "source": _source},
)
