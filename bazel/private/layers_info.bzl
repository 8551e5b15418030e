"""What `py_image_layer` provides to other rules."""

PyImageLayersInfo = provider(
    doc = """\
The layers of a `py_image_layer`, and what a container made of them runs. The targets of single layers do not
provide it.""",
    fields = {
        "cmd": "List of strings: the default arguments of the entrypoint.",
        "entrypoint": "List of strings: the executable's absolute path in the image.",
        "env": "Dict from names to values of environment variables.",
        "layers": """\
List of structs, one for each layer in the image, from bottom to top: `name`; the files `file` (the tar),
`descriptor` (JSON, with the diff ID) and `listing` (mtree); and `distributions`, a list of the normalized names of the
distributions that have files in the layer.""",
        "working_dir": "String: the absolute path of the directory to start in.",
    },
)
