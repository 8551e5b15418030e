"""What a container runs: the parts of an image's configuration that a binary determines."""

load(":py_binary_info.bzl", "PyBinaryInfo")

# Output groups with one file each, for the macro's targets. Names that begin with a dot are reserved.
CONFIG_PARTS = ["cmd", "config", "entrypoint", "env"]

# Variables that concern a build, not a container.
_OF_BUILDS = ["BAZEL_TARGET", "BAZEL_TARGET_NAME", "BAZEL_WORKSPACE"]

def config_group(part):
    """The output group with a file.

    Args:
        part: one of `CONFIG_PARTS`.

    Returns:
        Its name.
    """
    return "." + part

def command_of(binary):
    """The arguments and the environment of a binary's target.

    Args:
        binary: the target.

    Returns:
        A list of strings, and a dict from names to values of variables.
    """
    if PyBinaryInfo in binary:
        return binary[PyBinaryInfo].args, binary[PyBinaryInfo].env
    variables = binary[RunEnvironmentInfo].environment if RunEnvironmentInfo in binary else {}
    return [], {name: value for name, value in variables.items() if name not in _OF_BUILDS}

def write_image_config(ctx, binary, runfiles):
    """Declares the actions that write the configuration.

    Args:
        ctx: the rule's context.
        binary: the target that a container runs, the first of the image.
        runfiles: what `image_runfiles` returns.

    Returns:
        A struct of the values `entrypoint`, `cmd`, `env` and `working_dir`, and of `files`, a dict from `CONFIG_PARTS` to
        files: `config` is JSON with everything. The others have a line for each value, as `oci_image` of rules_oci
        takes them, or are `None` if a value contains a line break.
    """
    cmd, env = command_of(binary)
    config = {
        "entrypoint": ["/" + runfiles.executables[0]],
        "cmd": cmd,
        "env": env,
        # Where `bazel run` starts a binary, so that paths from $(rootpath) are the same.
        "working_dir": "/" + runfiles.prefix + runfiles.workspace,
    }
    files = {
        "cmd": _write_lines(ctx, "cmd", cmd),
        "config": _write(ctx, "config.json", json.encode_indent(config, indent = "  ") + "\n"),
        "entrypoint": _write_lines(ctx, "entrypoint", config["entrypoint"]),
        "env": _write_lines(ctx, "env", ["{}={}".format(name, value) for name, value in env.items()]),
    }
    return struct(files = files, **config)

def _write_lines(ctx, part, values):
    """Writes a line for each value, or nothing if a value has several lines."""
    if [value for value in values if "\n" in value]:
        return None
    return _write(ctx, part + ".txt", "".join([value + "\n" for value in values]))

def _write(ctx, name, content):
    file = ctx.actions.declare_file("{}.{}".format(ctx.label.name, name))
    ctx.actions.write(file, content)
    return file
