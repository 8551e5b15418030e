"""Images of binaries that have the same runfiles, except for a module of their own."""

load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")
load("//app:binary.bzl", "binary")
load(":count.bzl", "IMAGES")

def images(**kwargs):
    """Declares the binaries, their images, and `images`, which builds all of them.

    Args:
        **kwargs: arguments of `py_image_layer`.
    """
    for number in range(IMAGES):
        binary(
            name = "server_{}".format(number),
            data = [
                "main_{}.py".format(number),
                "@runfiles//:files",
            ],
        )
        py_image_layer(
            name = "image_{}".format(number),
            py_binary = ":server_{}".format(number),
            root = "/app",
            **kwargs
        )
    native.filegroup(
        name = "images",
        srcs = ["image_{}".format(number) for number in range(IMAGES)],
    )
