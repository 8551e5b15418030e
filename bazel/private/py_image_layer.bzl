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
load(":tables.bzl", "CODECS")
load(":tar_args.bzl", "parse_tar_args")
load(":toolchain.bzl", "TOOLCHAIN_TYPE")

# The extension of a layer's file by the value of `compress`.
_EXTENSIONS = {"" if row["name"] == "none" else row["name"]: row["extension"] for row in CODECS}

_LAYER_MNEMONIC = "PyImageLayer"

# Names of output groups beside those of the layers.
_RESERVED_GROUPS = ["descriptors", "listings"]

# Attributes that Starlark rules have and `native.filegroup` lacks. They are about where actions run, and
# only the target for all layers has actions.
_ATTRIBUTES_OF_ACTIONS = ["exec_compatible_with", "exec_group_compatible_with", "exec_properties", "toolchains"]

# The key of what is in no layer, where layers are keys.
_NO_LAYER = None

# Numbers may come in an attribute for numbers, where this value means unset.
_UNSET_NUMBER = -2147483648

# (uid_t) -1, the number after this one, means "leave as it is" to chown(2).
_MAX_ID = 4294967294

# Permissions with setuid, setgid and sticky.
_MAX_MODE = 4095

# The latest time of a signed 64-bit time_t.
_MAX_TIME = 9223372036854775807

_EXECUTION_REQUIREMENTS = {
    "supports-multiplex-sandboxing": "1",
    "supports-multiplex-workers": "1",
    "supports-worker-cancellation": "1",
    "supports-workers": "1",
    # One process serves both kinds of actions, so what it remembers is in memory once.
    "worker-key-mnemonic": _LAYER_MNEMONIC,
}

def py_image_layer(
        name,
        py_binary = None,
        root = None,
        layer_groups = None,
        compress = None,
        tar_args = None,
        binary = None,
        platform = None,
        owner = None,
        group = None,
        mtime = None,
        mode = None,
        dedupe = None,
        exclude = None,
        validation = None,
        validation_exceptions = None,
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

    `None` means the default for every argument. Every argument can be a `select()`, except `name`, and
    `layer_groups` as a whole: its names become targets, but each pattern can be a `select()`.

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
        compress: `gzip` (the default), `zstd`, or the empty string for a plain tar.
        tar_args: bsdtar options. Understood are `--options` with `gzip:!timestamp`,
            `gzip:compression-level=N`, `zstd:compression-level=N` and `zstd:threads=N`; `--uid`,
            `--gid`, `--uname`, `--gname`, `--numeric-owner`; `--mtime`; `--exclude`. An attribute
            that says otherwise wins.
        binary: Another name for `py_binary`.
        platform: Platform for which the binary is built. The target platform if unset.
        owner: User id of every entry, as a number or a string of digits. In a `select()`, numbers from
            2147483648 on have to be strings. 0 if unset.
        group: Group id of every entry, likewise. 0 if unset.
        mtime: Time of every entry, in seconds since 1970, likewise. 1672560000, 2023-01-01T08:00:00Z,
            if unset.
        mode: Permissions of files in octal, 0755 if unset. ELF images and scripts also get the execute
            bits wherever it has read bits: `0644` is 0755 for them. `detect` means `0644`.
        dedupe: Whether files of equal content, from 4 KiB on, are stored once per layer, as hard
            links. They are by default.
        exclude: Regular expressions, as in `layer_groups`; a file in whose path one is found is left
            out, and so are symlinks of the same layer to it. See also `SLIM_INTERPRETER`.
        validation: What happens when the layers turn out not to be the binary's runfiles, or a link
            leads nowhere, or a binary is made for another processor: `error` (the default), `warn`
            or `off`.
        validation_exceptions: Regular expressions, as in `exclude`. Validation accepts a symlink that
            leads nowhere, a file for another processor, and a file where another layer has a directory,
            if one is found in its path.
        compute_unused_inputs: Ignored: each layer's inputs are its own files in any case.
        **kwargs: Attributes of all targets, such as `visibility`, `testonly` and `tags`. Those about
            where actions run, such as `exec_properties`, are set on `{name}` only.

    Returns:
        The labels of the layers, in image order: `interpreter`, the groups of `layer_groups`,
        `packages`, `default`. Layers that change least come first, because a container runtime
        unpacks every layer above a changed one again.
    """
    where = "py_image_layer(name = \"{}\")".format(name)
    if py_binary == None and binary == None:
        fail("{}: set py_binary to the binary that the layers are for".format(where))
    if py_binary != None and binary != None:
        fail("{}: py_binary and binary are two names of one attribute: set one of them".format(where))
    if type(layer_groups) == "select":
        fail("{}: layer_groups cannot be a select, because its names become targets; use a dict whose patterns are selects: {{\"torch\": select(…)}}".format(where))
    if layer_groups != None and type(layer_groups) != "dict":
        fail("{}: layer_groups is a dict of names and patterns, not {}".format(where, repr(layer_groups)))
    layer_groups = layer_groups or {}
    for group_name, pattern in layer_groups.items():
        _check_group(where, group_name, pattern)

    own = [(group_name, pattern) for group_name, pattern in layer_groups.items() if pattern != None]
    own_names = [group_name for group_name, _ in own if group_name != DEFAULT_GROUP]
    groups = own + [pair for pair in DEFAULT_GROUPS if pair[0] not in own_names]
    dropped = [group_name for group_name, pattern in layer_groups.items() if pattern == None]
    layers = [layer for layer in image_order([group_name for group_name, _ in groups]) if layer not in dropped]

    _py_image_layer(
        name = name,
        binary = binary if py_binary == None else py_binary,
        root = root,
        group_names = [group_name for group_name, _ in groups],
        group_patterns = _join([pattern for _, pattern in groups]),
        dropped = dropped,
        exclude = exclude,
        compress = compress,
        tar_args = tar_args,
        platform = platform,
        mode = mode,
        dedupe = dedupe,
        validation = validation,
        validation_exceptions = validation_exceptions,
        **(_number("owner", owner) | _number("group", group) | _number("mtime", mtime) | kwargs)
    )
    common = {key: value for key, value in kwargs.items() if key not in _ATTRIBUTES_OF_ACTIONS}
    for layer in layers:
        native.filegroup(
            name = "{}_{}".format(name, layer),
            srcs = [name],
            output_group = layer,
            **common
        )
    return ["{}_{}".format(name, layer) for layer in layers]

def _join(patterns):
    """Joins strings and selects: a list attribute cannot hold a select in the place of an element."""
    joined = patterns[0]
    for pattern in patterns[1:]:
        joined += "\n" + pattern
    return joined

def _number(name, value):
    """The attribute for a number: one for strings, or where the numbers are in a select, one for numbers.

    The one for strings is the usual one, since attributes for numbers end at 2^31 - 1. Starlark shows
    what is in a select only by its text.
    """
    if type(value) == "int":
        return {name: str(value)}
    if type(value) == "select":
        first = str(value).replace("\"): ", "\": ").partition("\": ")[2]
        if first[:1].isdigit() or first[:1] == "-":
            return {name + "_number": value}
    return {name: value}

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
    if type(pattern) not in ["string", "select"]:
        fail("{}: layer group {} wants a regular expression, not {}".format(where, repr(name), repr(pattern)))
    if not name or not all([char.isalnum() or char in "_-.+" for char in name.elems()]):
        fail("{}: layer group {} becomes part of a target's name: use letters, digits, _, -, . and +".format(where, repr(name)))
    if name in _RESERVED_GROUPS or name.startswith("_"):
        fail("{}: choose another name for layer group {}: {} and names that begin with _ are other output groups".format(
            where,
            repr(name),
            ", ".join(_RESERVED_GROUPS),
        ))

    # Line breaks separate the patterns in their attribute, so they are looked for before.
    if type(pattern) == "string" and not is_line(pattern):
        fail("{}: the pattern of layer group {}, {}, {}".format(where, repr(name), repr(pattern), pattern_problem(pattern)))

def _py_image_layer_impl(ctx):
    settings = _settings(ctx)
    raw_groups = _groups(ctx)
    runfiles = _runfiles(ctx, settings.root)
    directory = runfiles.prefix.removesuffix("/")
    patterns = struct(
        groups = [(name, for_binary(pattern, directory, runfiles.found)) for name, pattern in raw_groups],
        exclude = [for_binary(pattern, directory, runfiles.found) for pattern in settings.exclude],
        dropped = ctx.attr.dropped,
    )
    members = _partition(runfiles, patterns)
    written = {
        layer: _write_layer(ctx, settings, patterns, layer, members[layer])
        for layer in image_order(ctx.attr.group_names)
        if layer not in ctx.attr.dropped
    }

    # The label of a layer that is known to be empty has a file, since rules ask for one; an image does
    # without.
    in_image = {layer: files for layer, files in written.items() if members[layer].files or members[layer].lines}
    unused = [pair for pair in raw_groups if pair not in DEFAULT_GROUPS and pair[0] not in in_image]
    validation = []
    if ctx.attr.validation != "off":
        validation.append(_validate(ctx, settings, patterns, runfiles, in_image, members[_NO_LAYER]))
    if unused:
        validation.append(_report_unused_groups(ctx, unused, runfiles.found.packages.keys()))
    return [
        DefaultInfo(files = depset([files.layer for files in in_image.values()], order = "preorder")),
        OutputGroupInfo(
            descriptors = depset([files.descriptor for files in in_image.values()]),
            listings = depset([files.listing for files in in_image.values()]),
            _validation = depset(validation),
            **{layer: depset([files.layer]) for layer, files in written.items()}
        ),
    ]

def _groups(ctx):
    """The names and patterns of all groups, in matching order."""
    names, patterns = ctx.attr.group_names, ctx.attr.group_patterns.split("\n")
    if len(names) != len(patterns):
        fail("layer_groups: a pattern has a line break in it: write it as \\n, or \\r")
    groups = [(name, normalize_pattern(pattern)) for name, pattern in zip(names, patterns)]
    for (name, pattern), original in zip(groups, patterns):
        # None in a select arrives as an empty pattern.
        if not pattern:
            fail("the pattern of layer group {} is empty (or None in a select), and would be found in every path: write \".\" for every path, \"[^\\\\s\\\\S]\" for none".format(repr(name)))

        # Patterns of the default groups have a part in braces, which is replaced later.
        problem = (name, pattern) not in DEFAULT_GROUPS and pattern_problem(pattern)
        if problem:
            fail("the pattern of layer group {}, {}, {}".format(repr(name), repr(original), problem))
    return groups

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
    mode = ctx.attr.mode
    is_octal = mode.isdigit() and "8" not in mode and "9" not in mode
    if mode != "detect" and not (is_octal and int(mode, 8) <= _MAX_MODE):
        fail("mode is {}: use octal permissions such as \"0755\", or \"detect\"".format(repr(mode)))
    exclude = [normalize_pattern(pattern) for pattern in ctx.attr.exclude]
    exceptions = [normalize_pattern(pattern) for pattern in ctx.attr.validation_exceptions]
    for attribute, patterns in [("exclude", exclude + tar_args.exclude), ("validation_exceptions", exceptions)]:
        for pattern in patterns:
            problem = pattern_problem(pattern) if pattern else "is found in every path: write \".\" if that is meant"
            if problem:
                fail("{}: {} {}".format(attribute, repr(pattern), problem))
    return struct(
        root = "/".join([part for part in root.split("/") if part]),
        exclude = tar_args.exclude + exclude,
        validation_exceptions = exceptions,
        compress = ctx.attr.compress,
        level = tar_args.level,
        owner = _checked_number(ctx, "owner", _MAX_ID, "--uid", tar_args.owner),
        group = _checked_number(ctx, "group", _MAX_ID, "--gid", tar_args.group),
        owner_name = tar_args.owner_name,
        group_name = tar_args.group_name,
        mtime = _checked_number(ctx, "mtime", _MAX_TIME, "--mtime", tar_args.mtime),
        mode = mode,
        dedupe_from = None if ctx.attr.dedupe else "off",
    )

def _checked_number(ctx, name, greatest, option, option_value):
    """What an attribute says, or else an option of `tar_args`: a string of digits, or `None`."""
    number = getattr(ctx.attr, name + "_number")
    value = str(number) if number != _UNSET_NUMBER else getattr(ctx.attr, name)
    if value and not value.isdigit():
        fail("{} is {}: write a whole number from 0 to {}".format(name, repr(value), greatest))
    if not value:
        name, value = "tar_args: " + option, option_value
    if value and int(value) > greatest:
        fail("{} is {}: the greatest number possible is {}".format(name, value, greatest))
    return value

def _runfiles(ctx, root):
    """What goes into the image, and where."""
    binary = ctx.attr.binary[0] if type(ctx.attr.binary) == "list" else ctx.attr.binary
    info = binary[DefaultInfo]
    executable = info.files_to_run.executable

    # Aspects, and so their providers, do not come with source files.
    if not executable or not info.default_runfiles or BinaryClosureInfo not in binary:
        fail("{} is not executable: py_image_layer wants a py_binary or another executable target with runfiles".format(binary.label))
    closure = binary[BinaryClosureInfo]
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

    kinds = {file.path: "l" for file in closure.declared_symlinks.to_list()}
    kinds |= {file.path: "f" for file in closure.file_symlinks.to_list() if file.path in places}

    # What is in the image besides these files.
    extra = [_extra("f", executable_path, executable)]
    repo_mapping = getattr(info.files_to_run, "repo_mapping_manifest", None)
    if repo_mapping:
        extra.append(_extra("f", prefix + "_repo_mapping", repo_mapping))
    for path, target in links:
        if target.path in places:
            extra.append(_extra("s", path, text = _relative(path, places[target.path][1])))
        else:
            extra.append(_extra(_kind(target, kinds), path, target))
    extra.extend([_extra("e", path) for path in empties])

    trees = [file for file, _ in places.values() if file.is_directory]
    return struct(
        # List of (File, image path), each path once: the same file may have several owners.
        files = places.values(),
        extra = extra,
        trees = trees + [entry.file for entry in extra if entry.file and entry.file.is_directory],
        found = found,
        prefix = prefix,
        workspace = workspace,
        kinds = kinds,
        cpu = closure.cpu,
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
        manifest, for what is not in `files`) and `map_file` (a `map_each` for what is). What belongs to
        no layer, because it is excluded or its group is dropped, is in that of `_NO_LAYER`.
    """
    layers_of = layer_finder(patterns.groups, patterns.exclude)
    names = {name: None for name, _ in patterns.groups + [(DEFAULT_GROUP, None)] if name not in patterns.dropped}
    members = {name: struct(files = [], extra = []) for name in names.keys() + [_NO_LAYER]}

    def members_of(path, is_tree):
        return [members[name] for name in layers_of(path, is_tree) if name in names] or [members[_NO_LAYER]]

    for entry in runfiles.extra:
        for member in members_of(entry.path, entry.file and entry.file.is_directory):
            member.extra.append(entry)
    for file, path in runfiles.files:
        for member in members_of(path, file.is_directory):
            member.files.append(file)
    return {
        layer: struct(
            files = member.files,
            inputs = [entry.file for entry in member.extra if entry.file],
            lines = [entry.line for entry in member.extra],
            map_file = _file_mapper(runfiles),
        )
        for layer, member in members.items()
    }

def _kind(file, kinds):
    """The kind of a file in the manifest. `kinds` are those of the links that Bazel makes, by path."""
    if file.is_directory:
        return "t"
    if hasattr(file, "is_symlink"):
        return "l" if file.is_symlink else "f"

    # Bazel 7 does not tell: where a program makes an output, that may be a declared symlink.
    return kinds.get(file.path, "f" if file.is_source else "g")

def _file_mapper(runfiles):
    """A `map_each` that keeps nothing alive but strings and the kinds of the few links."""
    prefix, workspace, kinds = runfiles.prefix, runfiles.workspace, runfiles.kinds

    def map_file(file):
        return _line(_kind(file, kinds), prefix + _runfiles_path(file.short_path, workspace), file.path)

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
    """Declares the action that writes one layer; returns a struct of the files that it makes and its manifest."""
    base = "{}_{}".format(ctx.label.name, layer)
    output = ctx.actions.declare_file(base + _EXTENSIONS[settings.compress])
    descriptor = ctx.actions.declare_file(base + ".descriptor.json")
    listing = ctx.actions.declare_file(base + ".mtree")
    manifest = _write_manifest(ctx, base, members)

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

    _run(
        ctx,
        args,
        inputs = members.files + members.inputs + [manifest],
        outputs = [output, descriptor, listing],
        mnemonic = _LAYER_MNEMONIC,
        progress_message = "Writing image layer %{output}",
        resource_set = _resources,
    )
    return struct(layer = output, descriptor = descriptor, listing = listing, manifest = manifest)

def _write_manifest(ctx, base, members):
    """Declares the action that writes the manifest of a layer, or of what is in none; returns it."""
    manifest = ctx.actions.declare_file(base + ".manifest")
    lines = ctx.actions.args().set_param_file_format("multiline")
    lines.add_all(members.lines)
    lines.add_all(members.files, map_each = members.map_file, expand_directories = False, allow_closure = True)
    ctx.actions.write(manifest, lines)
    return manifest

def _run(ctx, args, **kwargs):
    """Declares an action of the program, done by its worker wherever there is one."""
    ctx.actions.run(
        executable = ctx.toolchains[TOOLCHAIN_TYPE].pylayer,
        arguments = [args],
        execution_requirements = _EXECUTION_REQUIREMENTS,
        toolchain = TOOLCHAIN_TYPE,
        **kwargs
    )

def _resources(os, inputs):  # buildifier: disable=unused-variable
    """What one layer takes: the program's threads divide the processors among all layers."""
    return {"cpu": 1 if inputs < 1000 else 2, "memory": 64 if inputs < 1000 else 250}

def _add_patterns(args, patterns):
    args.add_all(["{}={}".format(name, pattern) for name, pattern in patterns.groups], format_each = "--group=%s")
    args.add_all(patterns.exclude, format_each = "--exclude=%s")

def _validate(ctx, settings, patterns, runfiles, layers, left_out):
    """Declares the action that proves the layers right from their listings; returns its report.

    What the layers should be is known from their manifests and that of what is left out, which must
    together have as many paths as the runfiles: a manifest of its own would be the largest file by far
    that a change of one runfile writes again.
    """
    report = ctx.actions.declare_file(ctx.label.name + ".validation")
    manifests = [files.manifest for files in layers.values()]
    if left_out.files or left_out.lines:
        manifests.append(_write_manifest(ctx, ctx.label.name + ".left_out", left_out))
    paths = {path: None for _, path in runfiles.files} | {entry.path: None for entry in runfiles.extra}

    args = ctx.actions.args().set_param_file_format("multiline").use_param_file("@%s", use_always = True)
    args.add(report, format = "--validation=%s")
    args.add_all(manifests, format_each = "--manifest=%s")
    args.add(len(paths), format = "--paths=%s")
    for layer, files in layers.items():
        args.add(files.listing, format = "--layer_listing=" + layer + "=%s")
    _add_patterns(args, patterns)
    args.add_all(patterns.dropped, format_each = "--dropped=%s")
    args.add(ctx.attr.validation, format = "--severity=%s")
    args.add_all(settings.validation_exceptions, format_each = "--exception=%s")
    if runfiles.cpu:
        args.add(runfiles.cpu, format = "--cpu=%s")
    _run(
        ctx,
        args,
        # Of the runfiles only the trees, to know what is in them.
        inputs = [files.listing for files in layers.values()] + runfiles.trees + manifests,
        outputs = [report],
        mnemonic = "PyImageLayerValidation",
        progress_message = "Validating image layers %{label}",
    )
    return report

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
    _run(
        ctx,
        args,
        outputs = [report],
        mnemonic = "PyImageLayerGroups",
        progress_message = "Checking the layer groups of %{label}",
    )
    return report

_py_image_layer = rule(
    implementation = _py_image_layer_impl,
    attrs = {
        "binary": attr.label(mandatory = True, allow_files = True, cfg = platform_transition, aspects = [binary_closure]),
        "root": attr.string(),
        "group_names": attr.string_list(doc = "In matching order."),
        "group_patterns": attr.string(doc = "A line for each name."),
        "compress": attr.string(default = "gzip"),
        "tar_args": attr.string_list(),
        "dropped": attr.string_list(),
        "exclude": attr.string_list(),
        "mtime": attr.string(),
        "mtime_number": attr.int(default = _UNSET_NUMBER),
        "mode": attr.string(default = "0755"),
        "dedupe": attr.bool(default = True),
        "validation": attr.string(default = "error", values = ["error", "warn", "off"]),
        "validation_exceptions": attr.string_list(),
        "platform": attr.label(),
        "owner": attr.string(),
        "owner_number": attr.int(default = _UNSET_NUMBER),
        "group": attr.string(),
        "group_number": attr.int(default = _UNSET_NUMBER),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    toolchains = [TOOLCHAIN_TYPE],
)
