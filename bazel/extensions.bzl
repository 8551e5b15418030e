"""The module extension that provides the `pylayer` program and the launcher of Python binaries.

A release of this module downloads what a build uses: the program for Linux or macOS, the launcher for Linux, on x86_64 or
aarch64. Where there is no released program, as in a checkout, both are built from this module's source with the host's
Rust. A root module can change that with one tag, or with several `prebuilt` tags for several platforms:

```starlark
pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")
pylayer.path(path = "/opt/pylayer/bin/pylayer")
```
"""

load("//bazel/private:image_rules_repository.bzl", "pylayer_image_rules_repository")
load(
    "//bazel/private:pylayer_repository.bzl",
    "PLATFORMS",
    "pylayer_default_repositories",
    "pylayer_path_repository",
    "pylayer_prebuilt_repositories",
    "pylayer_source_repository",
)
load("//bazel/private/python:repository.bzl", "pylayer_python_repository")

_REPOSITORY = "pylayer_toolchains"

_source = tag_class(
    doc = "Build the program and the launcher from this module's source with the host's Rust, even in a release.",
)

_py_info = tag_class(
    doc = "Reads and returns one more provider like PyInfo, that of a rule set which is not part of every build.",
    attrs = {
        "bzl": attr.label(doc = "The file that exports the provider.", mandatory = True),
        "depsets": attr.string_list(doc = "Fields, besides `imports` and `transitive_sources`, that get an empty depset."),
        "symbol": attr.string(doc = "The provider's name in the file.", default = "PyInfo"),
    },
)

_rules_img = tag_class(
    doc = """\
Makes targets of `py_image_layer` return the providers of rules_img, 0.3.10 or later: `LayersInfo`, so that
`image_manifest` does not read the layers again, and `ImageLayerConfigInfo` with the entrypoint, arguments, variables
and working directory of the binary.""",
    attrs = {
        "bzl": attr.label(
            doc = "The file that exports its providers: `@rules_img//img:providers.bzl`.",
            mandatory = True,
        ),
    },
)

_path = tag_class(
    doc = "Use a program that is installed on the machine.",
    attrs = {
        "launcher": attr.string(
            doc = """\
Absolute path of the launcher, not configured, for Linux on the host's CPU. By default, the launcher is built from
this module's source if the host has rustc.""",
        ),
        "path": attr.string(mandatory = True, doc = "Absolute path."),
    },
)

_prebuilt = tag_class(
    doc = "Download the program, and optionally the launcher. One tag per platform.",
    attrs = {
        "launcher_sha256": attr.string(doc = "SHA-256 of the launcher, in hexadecimal. Required with `launcher_url`."),
        "launcher_url": attr.string(
            doc = "The URL of the launcher, not configured. Only for Linux. By default, there is no launcher.",
        ),
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
    py_infos = [tag for module in mctx.modules for tag in module.tags.py_info]
    pylayer_python_repository(
        name = "pylayer_python",
        interpreters = Label("@pythons_hub//:interpreters.bzl"),
        providers = [json.encode([str(tag.bzl), tag.symbol, tag.depsets]) for tag in py_infos],
    )

    rules_img = {tag.bzl: None for module in mctx.modules for tag in module.tags.rules_img}.keys()
    if len(rules_img) > 1:
        fail("pylayer.rules_img: tags name several files, {}; remove all but one".format(", ".join([str(bzl) for bzl in rules_img])))
    pylayer_image_rules_repository(name = "pylayer_image_rules", rules_img = rules_img[0] if rules_img else None)

    # Only the root module can know the machines that run its actions.
    roots = [module for module in mctx.modules if module.is_root]
    tags = roots[0].tags if roots else struct(source = [], path = [], prebuilt = [])
    singles = [("source", tag) for tag in tags.source] + [("path", tag) for tag in tags.path]
    if len(singles) > 1 or (singles and tags.prebuilt):
        fail("pylayer: use one source or path tag, or prebuilt tags; they cannot be combined")
    if tags.prebuilt:
        for number, tag in enumerate(tags.prebuilt):
            if tag.platform in [other.platform for other in tags.prebuilt[:number]]:
                fail("pylayer.prebuilt: several tags are for {}; remove all but one".format(tag.platform))
        pylayer_prebuilt_repositories(
            name = _REPOSITORY,
            urls = {tag.platform: tag.url for tag in tags.prebuilt},
            sha256 = {tag.platform: tag.sha256 for tag in tags.prebuilt},
            launcher_urls = {tag.platform: tag.launcher_url for tag in tags.prebuilt if tag.launcher_url},
            launcher_sha256 = {tag.platform: tag.launcher_sha256 for tag in tags.prebuilt if tag.launcher_sha256},
        )
    elif tags.path:
        pylayer_path_repository(name = _REPOSITORY, path = tags.path[0].path, launcher = tags.path[0].launcher)
    elif tags.source:
        pylayer_source_repository(name = _REPOSITORY)
    else:
        pylayer_default_repositories(name = _REPOSITORY)

    # The repositories follow from the tags, so a lock file need not record them.
    return mctx.extension_metadata(reproducible = True)

pylayer = module_extension(
    implementation = _pylayer_impl,
    doc = "Provides the `pylayer` program and the launcher of Python binaries.",
    tag_classes = {
        "path": _path,
        "prebuilt": _prebuilt,
        "py_info": _py_info,
        "rules_img": _rules_img,
        "source": _source,
    },
)
