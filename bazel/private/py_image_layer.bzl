"""The rule and macro `py_image_layer`."""

load(":binary_closure.bzl", "BinaryClosureInfo", "binary_closure")
load(
    ":layer_groups.bzl",
    "DEFAULT_GROUP",
    "DEFAULT_GROUPS",
    "for_binary",
    "image_order",
    "is_line",
    "layer_finder",
    "normalize_pattern",
    "pattern_problem",
)
load(":platform_transition.bzl", "platform_transition")
load(":survey.bzl", "survey")
load(":tar_args.bzl", "parse_tar_args")
load(":toolchain.bzl", "TOOLCHAIN_TYPE")

_EXTENSIONS = {"": ".tar", "gzip": ".tar.gz", "zstd": ".tar.zst"}

# Names of output groups beside those of the layers.
_RESERVED_GROUPS = ["descriptors", "listings"]

_EXECUTION_REQUIREMENTS = {
    "supports-multiplex-sandboxing": "1",
    "supports-multiplex-workers": "1",
    "supports-worker-cancellation": "1",
    "supports-workers": "1",
}

def py_image_layer(
        name,
        py_binary = None,
        root = None,
        layer_groups = {},
        compress = "gzip",
        tar_args = ["--options", "gzip:!timestamp"],
        binary = None,
        platform = None,
        owner = None,
        group = None,
        mtime = None,
        mode = "0755",
        dedupe = True,
        exclude = [],
        validation = "error",
        validation_exceptions = [],
        compute_unused_inputs = None,  # buildifier: disable=unused-variable
        **kwargs):
    """Packs a Python binary and its runfiles into container image layers, one per layer group.

    Creates `{name}`, which builds all layers and has an output group for each, and `{name}_{group}`
    for each layer. The binary becomes `{root}/{package}/{binary}`, with its runfiles beside it.

    A file belongs to the first group whose pattern is found in its path in the image, such as
    `./app/server/server.runfiles/pip_deps_numpy/site-packages/numpy/__init__.py`. Groups are tried in
    this order: those of `layer_groups`; `interpreter`, which takes what holds a Python interpreter;
    `packages`, which takes third-party packages; `default`, which takes the rest, and the virtual
    environment that a rule set makes for the binary. The wheel that a rule set keeps beside its unpacked
    content is left out.

    Args:
        name: Name of the target for all layers.
        py_binary: The binary: any executable target with runfiles.
        root: Absolute directory of the image in which everything is put. The image's root if unset.
        layer_groups: Layers of their own: a dict from names to regular expressions, in the syntax
            of [Rust's regex](https://docs.rs/regex/latest/regex/#syntax), which match bytes.
            `pip_package("torch")` makes one for a package.
            Patterns that were escaped twice for awk (`"\\\\\\\\.runfiles/"`) keep their meaning. A
            group named `interpreter` or `packages` takes the place of the default one; `None`
            instead of a pattern leaves what belongs to the default one out of the image.
        compress: `gzip`, `zstd`, or the empty string for a plain tar.
        tar_args: bsdtar options. Understood are `--options` with `gzip:!timestamp`,
            `gzip:compression-level=N`, `zstd:compression-level=N` and `zstd:threads=N`; `--uid`,
            `--gid`, `--uname`, `--gname`, `--numeric-owner`; `--mtime`; `--exclude`. An attribute
            that says otherwise wins.
        binary: Another name for `py_binary`.
        platform: Platform for which the binary is built. The target platform if unset.
        owner: User id of every entry. 0 if unset.
        group: Group id of every entry. 0 if unset.
        mtime: Time of every entry, in seconds since 1970. 1672560000, 2023-01-01T08:00:00Z, if unset.
        mode: Permissions of every file in octal, 0755 if unset; or `detect`: 0755 for ELF images and
            scripts, 0644 for other files.
        dedupe: Whether files of equal content, from 4 KiB on, are stored once per layer, as hard links.
        exclude: Regular expressions, as in `layer_groups`; a file in whose path one is found is left
            out, and so are symlinks to it. See also `SLIM_INTERPRETER`.
        validation: What happens when the layers turn out not to be the binary's runfiles, or a link
            leads nowhere, or a binary is made for another processor: `error`, `warn` or `off`.
        validation_exceptions: Regular expressions, as in `exclude`. Validation accepts a symlink that
            leads nowhere, a file for another processor, and a file where another layer has a directory,
            if one is found in its path.
        compute_unused_inputs: Ignored: each layer's inputs are its own files in any case.
        **kwargs: Attributes of all targets, such as `visibility`, `testonly` and `tags`.

    Returns:
        The labels of the layers, in image order: `interpreter`, the groups of `layer_groups`,
        `packages`, `default`. Layers that change least come first, because a container runtime
        unpacks every layer above a changed one again.
    """
    where = "py_image_layer(name = \"{}\")".format(name)
    if (py_binary == None) == (binary == None):
        fail("{}: set py_binary (or binary, its other name), and not both".format(where))
    for group_name, pattern in layer_groups.items():
        _check_group(where, group_name, pattern)

    own = [(group_name, normalize_pattern(pattern)) for group_name, pattern in layer_groups.items() if pattern != None]
    own_names = [group_name for group_name, _ in own if group_name != DEFAULT_GROUP]
    groups = own + [pair for pair in DEFAULT_GROUPS if pair[0] not in own_names]
    dropped = [group_name for group_name, pattern in layer_groups.items() if pattern == None]
    layers = [layer for layer in image_order([group_name for group_name, _ in groups]) if layer not in dropped]

    _py_image_layer(
        name = name,
        binary = py_binary or binary,
        root = root or "",
        group_names = [group_name for group_name, _ in groups],
        group_patterns = [pattern for _, pattern in groups],
        dropped = dropped,
        exclude = [normalize_pattern(pattern) for pattern in exclude],
        compress = compress or "",
        tar_args = tar_args,
        platform = platform,
        owner = "" if owner == None else str(owner),
        group = "" if group == None else str(group),
        mtime = "" if mtime == None else str(mtime),
        mode = mode,
        dedupe = dedupe,
        validation = validation,
        validation_exceptions = [normalize_pattern(pattern) for pattern in validation_exceptions or []],
        **kwargs
    )
    for layer in layers:
        native.filegroup(
            name = "{}_{}".format(name, layer),
            srcs = [name],
            output_group = layer,
            **kwargs
        )
    return ["{}_{}".format(name, layer) for layer in layers]

def _check_group(where, name, pattern):
    if pattern == None:
        defaults = {default: None for default, _ in DEFAULT_GROUPS if default != DEFAULT_GROUP}.keys()
        if name not in defaults:
            fail("{}: only the default groups {} can be left out by None; give layer group {} a pattern, or use exclude".format(
                where,
                " and ".join(defaults),
                repr(name),
            ))
        return
    if type(pattern) != "string":
        fail("{}: layer group {} wants a regular expression, not {}".format(where, repr(name), repr(pattern)))
    if not name or not all([char.isalnum() or char in "_-.+" for char in name.elems()]):
        fail("{}: layer group {} becomes part of a target's name: use letters, digits, _, -, . and +".format(where, repr(name)))
    if name in _RESERVED_GROUPS or name.startswith("_"):
        fail("{}: {} is the name of another output group (as are {}): call the layer group otherwise".format(
            where,
            repr(name),
            ", ".join(_RESERVED_GROUPS),
        ))
    problem = pattern_problem(normalize_pattern(pattern))
    if problem:
        fail("{}: the pattern of layer group {}, {}, {}".format(where, repr(name), repr(pattern), problem))

def _py_image_layer_impl(ctx):
    settings = _settings(ctx)
    runfiles = _runfiles(ctx, settings.root)
    layers = {}
    descriptors = []
    listings = {}
    directory = runfiles.prefix.removesuffix("/")
    groups = zip(ctx.attr.group_names, ctx.attr.group_patterns)
    patterns = struct(
        groups = [(name, for_binary(pattern, directory, runfiles.found)) for name, pattern in groups],
        exclude = [for_binary(pattern, directory, runfiles.found) for pattern in settings.exclude],
    )
    members = _partition(runfiles, patterns)
    unused = [pair for pair in groups if pair not in DEFAULT_GROUPS and not members[pair[0]].files and not members[pair[0]].lines]
    for layer in image_order(ctx.attr.group_names):
        if layer in ctx.attr.dropped or not (members[layer].files or members[layer].lines):
            continue
        layers[layer], descriptor, listing = _write_layer(ctx, settings, patterns, layer, members[layer])
        descriptors.append(descriptor)
        listings[layer] = listing
    validation = _validate(ctx, patterns, runfiles, listings) if ctx.attr.validation != "off" else []
    if unused:
        validation = validation + [_report_unused_groups(ctx, unused, runfiles.found.packages.keys())]
    return [
        DefaultInfo(files = depset(layers.values(), order = "preorder")),
        OutputGroupInfo(
            descriptors = depset(descriptors),
            listings = depset(listings.values()),
            _validation = depset(validation),
            **{layer: depset([file]) for layer, file in layers.items()}
        ),
    ]

def _settings(ctx):
    """Checks the attributes, and gives them as values."""
    root = ctx.attr.root
    if root and not root.startswith("/"):
        fail("root is an absolute directory of the image: write \"/{0}\", not \"{0}\"".format(root))
    if [part for part in root.split("/") if part in [".", ".."]]:
        fail("root is {}: leave out . and ..".format(repr(root)))
    if not is_line(root):
        fail("root is {}: leave out line breaks".format(repr(root)))
    if ctx.attr.compress not in _EXTENSIONS:
        fail("compress is {}: use \"gzip\", \"zstd\", or \"\" for a plain tar".format(repr(ctx.attr.compress)))
    tar_args, problem = parse_tar_args(ctx.attr.tar_args, ctx.attr.compress)
    if problem:
        fail("tar_args: " + problem)
    for name in ["owner", "group", "mtime"]:
        value = getattr(ctx.attr, name)
        if value and not value.isdigit():
            fail("{} is a number, not {}".format(name, repr(value)))
    mode = ctx.attr.mode
    if mode != "detect" and (not mode.isdigit() or len(mode) > 5 or "8" in mode or "9" in mode):
        fail("mode is {}: use octal permissions such as \"0755\", or \"detect\"".format(repr(mode)))
    for attribute, patterns in [
        ("exclude", ctx.attr.exclude + tar_args.exclude),
        ("validation_exceptions", ctx.attr.validation_exceptions),
    ]:
        for pattern in patterns:
            problem = pattern_problem(pattern)
            if problem:
                fail("{}: {} {}".format(attribute, repr(pattern), problem))
    return struct(
        root = "/".join([part for part in root.split("/") if part]),
        exclude = tar_args.exclude + ctx.attr.exclude,
        compress = ctx.attr.compress,
        level = tar_args.level,
        owner = ctx.attr.owner or tar_args.owner,
        group = ctx.attr.group or tar_args.group,
        owner_name = tar_args.owner_name,
        group_name = tar_args.group_name,
        mtime = ctx.attr.mtime or tar_args.mtime,
        mode = mode,
        dedupe_from = None if ctx.attr.dedupe else "off",
    )

def _runfiles(ctx, root):
    """What goes into the image, and where."""
    binary = ctx.attr.binary[0] if type(ctx.attr.binary) == "list" else ctx.attr.binary
    info = binary[DefaultInfo]
    executable = info.files_to_run.executable

    # Aspects, and so their providers, do not come with source files.
    if not executable or not info.default_runfiles or BinaryClosureInfo not in binary:
        fail("{} is not executable: py_image_layer wants a py_binary or another executable target with runfiles".format(binary.label))
    closure = binary[BinaryClosureInfo]
    declared_symlinks = {file.path: True for file in closure.declared_symlinks.to_list()}
    executable_path = (root + "/" if root else "") + _repository_relative(executable)
    prefix = executable_path + ".runfiles/"
    workspace = ctx.workspace_name

    places = {}  # files to image paths
    for file in info.default_runfiles.files.to_list():
        places[file.path] = (file, prefix + _runfiles_path(file.short_path, workspace))
    links = [
        (start + entry.path, entry.target_file)
        for start, entries in [
            (prefix + workspace + "/", info.default_runfiles.symlinks),
            (prefix, info.default_runfiles.root_symlinks),
        ]
        for entry in entries.to_list()
    ]

    # Files of other repositories come as external/<repository>/…, or as ../<repository>/… with
    # --nolegacy_external_runfiles.
    empties = [
        prefix + _runfiles_path("../" + path.removeprefix("external/") if path.startswith("external/") else path, workspace)
        for path in info.default_runfiles.empty_filenames.to_list()
    ]

    paths = [(path, file.is_directory) for file, path in places.values()]
    paths += [(path, file.is_directory) for path, file in links] + [(path, False) for path in empties]
    found = survey(
        [path.removeprefix(prefix) + ("/" if is_tree else "") for path, is_tree in paths],
        _repository_relative(executable),
    )
    unneeded = {prefix + wheel: None for wheel in found.wheels}
    if unneeded:
        places = {key: place for key, place in places.items() if place[1] not in unneeded}
        links = [link for link in links if link[0] not in unneeded]

    # What is in the image besides these files.
    extra = [_extra("f", executable_path, executable)]
    repo_mapping = getattr(info.files_to_run, "repo_mapping_manifest", None)
    if repo_mapping:
        extra.append(_extra("f", prefix + "_repo_mapping", repo_mapping))
    for path, target in links:
        if target.path in places:
            extra.append(_extra("s", path, text = _relative(path, places[target.path][1])))
        else:
            extra.append(_extra(_kind(target, declared_symlinks), path, target))
    extra.extend([_extra("e", path) for path in empties])

    trees = [file for file, _ in places.values() if file.is_directory]
    return struct(
        # List of (File, image path), each path once: the same file may have several owners.
        files = places.values(),
        extra = extra,
        trees = trees + [entry.file for entry in extra if entry.file and entry.file.is_directory],
        depset = depset([file for file, _ in places.values()]) if unneeded else info.default_runfiles.files,
        found = found,
        prefix = prefix,
        workspace = workspace,
        declared_symlinks = declared_symlinks,
        elf_machine = closure.elf_machine,
    )

def _extra(kind, path, file = None, text = None):
    """An entry of the image with its own line of the manifest, and the file that holds its content."""
    fields = [path] + ([file.path] if file else []) + ([text] if text else [])
    return struct(line = _line(kind, *fields), path = path, file = file)

def _repository_relative(file):
    """`pkg/bin` of `pkg/bin` and of `../repository/pkg/bin`."""
    path = file.short_path
    return path.split("/", 2)[2] if path.startswith("../") else path

def _runfiles_path(short_path, workspace):
    """Where Bazel puts a file in the runfiles tree."""
    return short_path[3:] if short_path.startswith("../") else workspace + "/" + short_path

def _partition(runfiles, patterns):
    """Divides the image's entries among the layers: for each layer what may belong to it.

    Returns:
        A dict from layers to structs of `files` and `inputs` (lists of File), `lines` (of the
        manifest, for what is not in `files`) and `map_file` (a `map_each` for what is).
    """
    layers_of = layer_finder(patterns.groups, patterns.exclude)
    members = {name: struct(files = [], extra = []) for name, _ in patterns.groups + [(DEFAULT_GROUP, None)]}
    for entry in runfiles.extra:
        for layer in layers_of(entry.path, entry.file and entry.file.is_directory):
            members[layer].extra.append(entry)
    for file, path in runfiles.files:
        for layer in layers_of(path, file.is_directory):
            members[layer].files.append(file)
    return {
        layer: struct(
            files = member.files,
            inputs = [entry.file for entry in member.extra if entry.file],
            lines = [entry.line for entry in member.extra],
            map_file = _file_mapper(runfiles),
        )
        for layer, member in members.items()
    }

def _kind(file, declared_symlinks):
    if file.is_directory:
        return "t"
    if getattr(file, "is_symlink", False) or file.path in declared_symlinks:
        return "l"
    return "f"

def _file_mapper(runfiles):
    """A `map_each` that keeps nothing alive but strings and the few declared symlinks."""
    prefix, workspace, declared_symlinks = runfiles.prefix, runfiles.workspace, runfiles.declared_symlinks

    def map_file(file):
        return _line(_kind(file, declared_symlinks), prefix + _runfiles_path(file.short_path, workspace), file.path)

    return map_file

def _line(kind, *fields):
    """A line of the manifest."""
    return "\t".join([kind] + [_escape(field) for field in fields])

def _escape(field):
    if "\\" in field or "\t" in field or "\n" in field:
        return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return field

def _relative(link, target):
    """The text of a symlink at `link` to `target`, both paths in the image."""
    here = link.split("/")[:-1]
    there = target.split("/")
    shared = 0
    for a, b in zip(here, there[:-1]):
        if a != b:
            break
        shared += 1
    return "/".join([".."] * (len(here) - shared) + there[shared:])

def _write_layer(ctx, settings, patterns, layer, members):
    """Declares the action that writes one layer; returns the layer, its descriptor and its listing."""
    base = "{}_{}".format(ctx.label.name, layer)
    output = ctx.actions.declare_file(base + _EXTENSIONS[settings.compress])
    descriptor = ctx.actions.declare_file(base + ".descriptor.json")
    listing = ctx.actions.declare_file(base + ".mtree")
    manifest = ctx.actions.declare_file(base + ".manifest")

    lines = ctx.actions.args().set_param_file_format("multiline")
    lines.add_all(members.lines)
    lines.add_all(members.files, map_each = members.map_file, expand_directories = False, allow_closure = True)
    ctx.actions.write(manifest, lines)

    # Bazel expands any line of the flagfile that begins with @, so every line begins with --.
    args = ctx.actions.args().set_param_file_format("multiline").use_param_file("@%s", use_always = True)
    args.add(layer, format = "--layer=%s")
    args.add(manifest, format = "--manifest=%s")
    args.add(output, format = "--output=%s")
    args.add(descriptor, format = "--descriptor=%s")
    args.add(listing, format = "--listing=%s")
    _add_patterns(args, patterns)
    args.add(settings.root, format = "--root=%s")
    args.add(settings.compress or "none", format = "--compress=%s")
    for flag, value in [
        ("level", settings.level),
        ("owner", settings.owner),
        ("group_id", settings.group),
        ("owner_name", settings.owner_name),
        ("group_name", settings.group_name),
        ("mtime", settings.mtime),
        ("mode", settings.mode),
        ("dedupe_from", settings.dedupe_from),
    ]:
        if value:
            args.add(value, format = "--" + flag + "=%s")

    toolchain = ctx.toolchains[TOOLCHAIN_TYPE]
    protocol = toolchain.worker_protocol
    ctx.actions.run(
        executable = toolchain.pylayer,
        inputs = members.files + members.inputs + [manifest],
        outputs = [output, descriptor, listing],
        arguments = ["--worker_protocol=" + protocol, args],
        mnemonic = "PyImageLayer",
        progress_message = "Writing image layer %{output}",
        resource_set = _resources,
        execution_requirements = dict(_EXECUTION_REQUIREMENTS, **{"requires-worker-protocol": protocol}),
        toolchain = TOOLCHAIN_TYPE,
    )
    return output, descriptor, listing

def _resources(os, inputs):  # buildifier: disable=unused-variable
    """What one layer takes: the program's threads divide the processors among all layers."""
    return {"cpu": 1 if inputs < 1000 else 2, "memory": 64 if inputs < 1000 else 250}

def _add_patterns(args, patterns):
    args.add_all(["{}={}".format(name, pattern) for name, pattern in patterns.groups], format_each = "--group=%s")
    args.add_all(patterns.exclude, format_each = "--exclude=%s")

def _validate(ctx, patterns, runfiles, listings):
    """Declares the action that proves the layers right from their listings; returns its report."""
    report = ctx.actions.declare_file(ctx.label.name + ".validation")
    manifest = ctx.actions.declare_file(ctx.label.name + ".manifest")
    lines = ctx.actions.args().set_param_file_format("multiline")
    lines.add_all([entry.line for entry in runfiles.extra])
    lines.add_all(runfiles.depset, map_each = _file_mapper(runfiles), expand_directories = False, allow_closure = True)
    ctx.actions.write(manifest, lines)

    args = ctx.actions.args().set_param_file_format("multiline").use_param_file("@%s", use_always = True)
    args.add(report, format = "--validation=%s")
    args.add(manifest, format = "--manifest=%s")
    for layer, listing in listings.items():
        args.add(listing, format = "--layer_listing=" + layer + "=%s")
    _add_patterns(args, patterns)
    args.add_all(ctx.attr.dropped, format_each = "--dropped=%s")
    args.add(ctx.attr.validation, format = "--severity=%s")
    args.add_all(ctx.attr.validation_exceptions, format_each = "--exception=%s")
    if runfiles.elf_machine:
        args.add(runfiles.elf_machine, format = "--machine=%s")
    ctx.actions.run(
        executable = ctx.toolchains[TOOLCHAIN_TYPE].pylayer,
        # Of the runfiles only the trees, to know what is in them.
        inputs = listings.values() + runfiles.trees + [manifest],
        outputs = [report],
        arguments = [args],
        mnemonic = "PyImageLayerValidation",
        progress_message = "Validating image layers %{label}",
        toolchain = TOOLCHAIN_TYPE,
    )
    return [report]

def _report_unused_groups(ctx, groups, packages):
    """Declares the action that warns of groups without files, and returns its report.

    An action's output is shown when it runs, once; that of print() would be shown whenever a server analyzes
    the target. And this action has no inputs, so an edit of the binary is no reason to run it again.
    """
    report = ctx.actions.declare_file(ctx.label.name + ".unused_groups")
    args = ctx.actions.args().set_param_file_format("multiline").use_param_file("@%s", use_always = True)
    args.add(report, format = "--unused_groups=%s")
    args.add_all(["{}={}".format(name, pattern) for name, pattern in groups], format_each = "--group=%s")
    args.add_all(sorted(packages), format_each = "--package=%s")
    ctx.actions.run(
        executable = ctx.toolchains[TOOLCHAIN_TYPE].pylayer,
        outputs = [report],
        arguments = [args],
        mnemonic = "PyImageLayerGroups",
        progress_message = "Checking the layer groups of %{label}",
        toolchain = TOOLCHAIN_TYPE,
    )
    return report

_py_image_layer = rule(
    implementation = _py_image_layer_impl,
    attrs = {
        "binary": attr.label(mandatory = True, allow_files = True, cfg = platform_transition, aspects = [binary_closure]),
        "root": attr.string(),
        "group_names": attr.string_list(doc = "In matching order."),
        "group_patterns": attr.string_list(doc = "One for each name."),
        "compress": attr.string(),
        "tar_args": attr.string_list(),
        "dropped": attr.string_list(),
        "exclude": attr.string_list(),
        "mtime": attr.string(),
        "mode": attr.string(),
        "dedupe": attr.bool(default = True),
        "validation": attr.string(values = ["error", "warn", "off"]),
        "validation_exceptions": attr.string_list(),
        "platform": attr.label(),
        "owner": attr.string(),
        "group": attr.string(),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    toolchains = [TOOLCHAIN_TYPE],
)
