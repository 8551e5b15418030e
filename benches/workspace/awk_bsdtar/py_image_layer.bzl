"""`py_image_layer` like the original: one manifest, divided by awk, from which bsdtar makes each layer.

Bazel writes the manifest of the binary and all its runfiles. An awk program puts each line into the manifest of
the first group whose pattern matches the path. The bsdtar action of each group has all runfiles as inputs, since
only its manifest says which of them it reads.
"""

# From later releases of the original.
_DEFAULT_GROUPS = {
    "interpreter": "\\\\.runfiles/[^/]*python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*/",
    "packages": "\\\\.runfiles/.*/site-packages",
}

# File extensions and bsdtar options.
_COMPRESSION = {
    "gzip": (".tar.gz", ["--gzip", "--options", "gzip:!timestamp"]),
    "zstd": (".tar.zst", ["--zstd"]),
}

_COMMON = "uid=0 gid=0 time=1672560000 mode=0755"

_DIVIDE = """\
BEGIN {{
{headers}
}}
{{
  if ($1 ~ "\\\\.whl$") next
  sub(/^/, ".{root}/")
{tests}
  print $0 >> "{default}"
}}
"""

def _lines(path, content):
    """The lines of a file and of its parent directories, which are deduplicated later."""
    path, parts, lines = _escape(path), path.split("/"), []
    for depth in range(1, len(parts)):
        # bsdtar treats a name without a slash as relative to the preceding directory.
        folder = _escape("/".join(parts[:depth])) + ("/" if depth == 1 else "")
        lines.append("{} {} type=dir".format(folder, _COMMON))
    return lines + ["{} {} type=file content={}".format(path, _COMMON, _escape(content))]

def _escape(path):
    return path.replace("\\", "\\134").replace(" ", "\\040")

def _py_image_layer_impl(ctx):
    binary = ctx.attr.py_binary[DefaultInfo]
    executable = binary.files_to_run.executable
    runfiles = binary.default_runfiles.files
    below = executable.short_path + ".runfiles/"
    workspace = ctx.workspace_name

    def runfile_lines(file):
        path = file.short_path
        return _lines(below + (path[3:] if path.startswith("../") else workspace + "/" + path), file.path)

    manifest = ctx.actions.declare_file(ctx.label.name + "_manifest.spec")
    content = ctx.actions.args().set_param_file_format("multiline")
    content.add_all(_lines(executable.short_path, executable.path))
    content.add_all(runfiles, map_each = runfile_lines, uniquify = True, allow_closure = True)
    ctx.actions.write(manifest, content)

    groups = dict(ctx.attr.layer_groups, **_DEFAULT_GROUPS)
    specs = {
        group: ctx.actions.declare_file("{}.{}.spec".format(ctx.label.name, group))
        for group in groups.keys() + ["default"]
    }
    program = _DIVIDE.format(
        root = ctx.attr.root,
        headers = "\n".join(['  print "#mtree" >> "{}"'.format(spec.path) for spec in specs.values()]),
        tests = "\n".join([
            '  if ($1 ~ "{}") {{ print $0 >> "{}"; next }}'.format(pattern, specs[group].path)
            for group, pattern in groups.items()
        ]),
        default = specs["default"].path,
    )
    ctx.actions.run_shell(
        command = 'awk "$1" "$2"',
        arguments = [program, manifest.path],
        inputs = [manifest],
        outputs = specs.values(),
        mnemonic = "Divide",
    )

    extension, options = _COMPRESSION[ctx.attr.compress]
    layers = []
    for group, spec in specs.items():
        layer = ctx.actions.declare_file("{}_{}{}".format(ctx.label.name, group, extension))
        layers.append(layer)
        ctx.actions.run(
            executable = ctx.executable._bsdtar,
            arguments = ["--create"] + options + ["--file", layer.path, "@" + spec.path],
            inputs = depset([spec], transitive = [runfiles]),
            outputs = [layer],
            mnemonic = "Tar",
        )
    return [DefaultInfo(files = depset(layers))]

py_image_layer = rule(
    implementation = _py_image_layer_impl,
    attrs = {
        "compress": attr.string(default = "gzip", values = _COMPRESSION.keys()),
        "layer_groups": attr.string_dict(),
        "py_binary": attr.label(mandatory = True),
        "root": attr.string(),
        "_bsdtar": attr.label(default = "@bsdtar//:bsdtar", executable = True, allow_single_file = True, cfg = "exec"),
    },
)
