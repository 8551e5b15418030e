"""Rules that take layers, with the attributes of widely used rules."""

_EXTENSIONS = [".tar", ".tar.gz", ".tgz", ".tar.bz", ".tar.bz2", ".tar.xz", ".tar.zst"]

def _image_impl(ctx):
    return DefaultInfo(files = depset(ctx.files.tars + ctx.files.layer))

image = rule(
    implementation = _image_impl,
    attrs = {
        "tars": attr.label_list(
            doc = "As `oci_image` of rules_oci has it: every label has to give a file.",
            allow_files = _EXTENSIONS,
        ),
        "layer": attr.label(
            doc = "As `layer_from_tar` of rules_img has it: the label has to give one file.",
            allow_single_file = _EXTENSIONS,
        ),
    },
)
