"""The rule and macro `py_image_layer`."""

load(":actions.bzl", "EXTENSIONS", "report_unused_groups", "validate_layers", "write_groups", "write_image_settings", "write_layer", "write_left_out")
load(":binary_closure.bzl", "binary_closure")
load(":image_config.bzl", "CONFIG_PARTS", "config_group", "write_image_config")
load(
    ":layer_groups.bzl",
    "DEFAULT_GROUP",
    "DEFAULT_GROUPS",
    "directories_pattern",
    "for_binary",
    "image_order",
    "is_line",
    "normalize_pattern",
    "pattern_problem",
)
load(":layers_info.bzl", "PyImageLayersInfo")
load(":partition.bzl", "NO_LAYER", "layers_of_group", "partition")
load(":platform_transition.bzl", "platform_transition")
load(":py_binary_info.bzl", "PyBinaryInfo")
load(":record.bzl", "record_command")
load(":report.bzl", "report_command", "write_report")
load(":rules_img.bzl", "rules_img_providers")
load(":runfiles.bzl", "image_runfiles")
load(":tables.bzl", "CODECS", "LAZY")
load(":tar_args.bzl", "parse_tar_args")
load(":toolchain.bzl", "TOOLCHAIN_TYPE")
load(":wheels.bzl", "is_lifted", "wheels_by_layer")

# What container runtimes take.
_MAX_LAYERS = 127

# Output groups other than those of the layers.
_RESERVED_GROUPS = ["descriptors", "listings", "report"]

# Attributes of Starlark rules that `native.filegroup` does not have. They determine where actions run, and
# only the target for all layers has actions.
_ATTRIBUTES_OF_ACTIONS = ["exec_compatible_with", "exec_group_compatible_with", "exec_properties", "toolchains"]

_LAZY_CODECS = {row["name"]: row["codec"] for row in LAZY}

# Means unset in the integer attributes, which exist for selects of numbers.
_UNSET_NUMBER = -2147483648

# The number after this one, (uid_t) -1, means "unchanged" to chown(2).
_MAX_ID = 4294967294

# All permission bits, including setuid, setgid and sticky.
_MAX_MODE = 4095

# The latest time of a signed 64-bit time_t.
_MAX_TIME = 9223372036854775807

def py_image_layer(
        name,
        py_binary = None,
        root = None,
        layer_groups = None,
        compress = None,
        tar_args = None,
        binary = None,
        binaries = None,
        runfiles_root = None,
        split = None,
        max_layers = None,
        platform = None,
        owner = None,
        group = None,
        mtime = None,
        mode = None,
        dedupe = None,
        exclude = None,
        validation = None,
        validation_exceptions = None,
        wheels = None,
        lazy = None,
        prefetch = None,
        compute_unused_inputs = None,  # buildifier: disable=unused-variable
        **kwargs):
    """Packs Python binaries and their runfiles into container image layers, one per layer group.

    Creates `{name}`, which builds all layers and has an output group for each group, and `{name}_{group}`
    for the layers of each group. `bazel run` of `{name}.report` writes a page about the image, that of `{name}.tune`
    proposes how to divide packages among layers, and that of `{name}.record` lists what the binary reads when it starts.
    A binary becomes `{root}/{package}/{binary}`, with its runfiles next to it or in `runfiles_root`.

    A file belongs to the first group whose pattern matches anywhere in its image path, such as
    `./app/server/server.runfiles/pip_deps_numpy/site-packages/numpy/__init__.py`. Groups are tried in
    this order: those of `layer_groups`; `interpreter`, for Python interpreters; `packages`, for
    third-party packages; `default`, for everything else, including the virtual environment that a rule
    set creates for the binary. Wheels that a rule set keeps next to their unpacked contents are not
    packed.

    For every argument, `None` means the default. Every argument can be a `select()`, except `name` and
    `layer_groups`: the names of groups become targets, but each pattern can be a `select()`.

    Args:
        name: Name of the target for all layers.
        py_binary: The binary: any executable target with runfiles.
        root: Absolute path of the directory of the image that everything goes into. The image's root if
            unset.
        layer_groups: Additional layers: a dict from names to regular expressions, in the syntax
            of [Rust's regex](https://docs.rs/regex/latest/regex/#syntax), matched against bytes.
            `pip_package("torch")` returns the pattern for a package.
            Patterns that were escaped twice for awk (`"\\\\\\\\.runfiles/"`) keep their meaning. A
            group named `interpreter` or `packages` replaces the default one; with `None` instead of a
            pattern, the files of the default one are left out of the image.
        compress: `gzip` (the default), `zstd`, or the empty string for a plain tar.
        tar_args: bsdtar options. Supported are `--options` with `gzip:!timestamp`,
            `gzip:compression-level=N`, `zstd:compression-level=N` and `zstd:threads=N`; `--uid`,
            `--gid`, `--uname`, `--gname`, `--numeric-owner`; `--mtime`; `--exclude`. Attributes take
            precedence over conflicting options.
        binary: Alias of `py_binary`.
        binaries: Several binaries instead of one, in one image. What they have in common is stored once. The
            container runs the first one, unless it is told otherwise. Requires `runfiles_root`.
        runfiles_root: Absolute path of the directory for the runfiles, whose name must end in `.runfiles`:
            `/app/.runfiles` is recommended. Images with the same `runfiles_root` share their layers: the
            same interpreter and the same packages become layers with the same digests. `{binary}.runfiles` is a
            symlink to the directory. If unset, each binary has its runfiles in `{binary}.runfiles`.
        split: How many layers the group `packages` becomes at most, or a dict from names of groups to such numbers.
            Files are distributed by the name of their distribution, so an updated one changes one layer. Layers
            without files are left out. The label of the group provides all of its layers.
        max_layers: The build fails if there are more layers than this. Container runtimes take 127, including those of
            the base image.
        platform: Platform to build the binary for. The target platform if unset.
        owner: User ID of every entry, as a number or a string of digits. In a `select()`, numbers of at
            least 2147483648 must be strings. 0 if unset.
        group: Group ID of every entry, likewise. 0 if unset.
        mtime: Time of every entry, in seconds since 1970, likewise. 1672560000 (2023-01-01T08:00:00Z)
            if unset.
        mode: Permissions of files in octal, 0755 if unset. ELF images and scripts also get an execute
            bit for each read bit, so `0644` becomes 0755 for them. `detect` means `0644`.
        dedupe: Whether files of at least 4 KiB with equal content are stored once per layer, as hard
            links. True by default.
        exclude: Regular expressions, as in `layer_groups`. Files whose image paths match are excluded,
            and so are symlinks to them in the same layer. See also `SLIM_INTERPRETER`.
        validation: What to do if the layers do not match the binary's runfiles, a symlink dangles, or a
            file is for another processor: `error` (the default), `warn` or `off`.
        validation_exceptions: Regular expressions, as in `exclude`. At paths that match, validation
            accepts dangling symlinks, files for another processor, and files where another layer has a
            directory.
        wheels: The wheels of the binary's packages, such as `all_whl_requirements` of rules_python. Gzip layers take the
            files in them as they are compressed there, which is several times as fast as compressing them. This
            changes the digests of layers. Wheels of rules that unpack them in actions, as in aspect_rules_py, are found without
            this. A layer depends on the wheels of its own packages only. Not used for zstd, for plain tars, and for
            levels of gzip above 6.
        lazy: `estargz` makes gzip layers that stargz-snapshotter of containerd can mount before they are pulled.
            `zstd:chunked`, with `compress = "zstd"`, makes layers of which podman and CRI-O fetch only the files that they
            do not have. All other tools read them as usual. They are larger by some percent.
        prefetch: A file with the ends of paths, one per line, which `bazel run {name}.record -- --out FILE` writes: what the
            binary reads when it starts. With `lazy = "estargz"`, layers begin with these files, and stargz-snapshotter fetches
            them at once before it starts the container. Files of more than 4 MiB stay where they are, because it fetches
            only parts of them.
        compute_unused_inputs: Ignored: the inputs of a layer are always its own files only.
        **kwargs: Attributes of all targets, such as `visibility`, `testonly` and `tags`. Those that
            determine where actions run, such as `exec_properties`, are set on `{name}` only.

    Returns:
        The labels of the layers, in image order: `interpreter`, the groups of `layer_groups`,
        `packages`, `default`. Layers that change least come first, because a container runtime
        unpacks every layer above a changed one again.
    """
    where = "py_image_layer(name = \"{}\")".format(name)
    given = {"py_binary": py_binary, "binary": binary, "binaries": binaries}
    given = [attribute for attribute, value in given.items() if value != None]
    if not given:
        fail("{}: set py_binary to the binary that the layers are for, or binaries to a list".format(where))
    if len(given) > 1:
        fail("{}: {} are for the same: set only one".format(where, " and ".join(given)))
    if binaries != None and runfiles_root == None:
        fail("{}: binaries requires runfiles_root, the directory that they share: runfiles_root = \"/app/.runfiles\"".format(where))
    if type(layer_groups) == "select":
        fail("{}: layer_groups cannot be a select, because its names become targets; use a dict whose patterns are selects: {{\"torch\": select(…)}}".format(where))
    if layer_groups != None and type(layer_groups) != "dict":
        fail("{}: layer_groups must be a dict of names and patterns, not {}".format(where, repr(layer_groups)))
    layer_groups = layer_groups or {}
    for group_name, pattern in layer_groups.items():
        _check_group(where, group_name, pattern)

    own = [(group_name, pattern) for group_name, pattern in layer_groups.items() if pattern != None]
    own_names = [group_name for group_name, _ in own if group_name != DEFAULT_GROUP]
    groups = own + [pair for pair in DEFAULT_GROUPS if pair[0] not in own_names]
    dropped = [group_name for group_name, pattern in layer_groups.items() if pattern == None]
    layers = [layer for layer in image_order([group_name for group_name, _ in groups]) if layer not in dropped]

    binary = binary if py_binary == None else py_binary
    _py_image_layer(
        name = name,
        binary = binary,
        binaries = binaries,
        root = root,
        runfiles_root = runfiles_root,
        max_layers = max_layers,
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
        wheels = wheels,
        lazy = lazy,
        prefetch = prefetch,
        **(_number("owner", owner) | _number("group", group) | _number("mtime", mtime) | _split(where, split) | kwargs)
    )
    common = {key: value for key, value in kwargs.items() if key not in _ATTRIBUTES_OF_ACTIONS}
    for layer in layers:
        native.filegroup(
            name = "{}_{}".format(name, layer),
            srcs = [name],
            output_group = layer,
            **common
        )
    for part in CONFIG_PARTS:
        native.filegroup(
            name = "{}.{}".format(name, part),
            srcs = [name],
            output_group = config_group(part),
            **common
        )
    for command in ["report", "tune"]:
        report_command(
            name = "{}.{}".format(name, command),
            command = command,
            layers = name,
            **(common | {"tags": (common.get("tags") or []) + ["manual"]})
        )
    record_command(
        name = name + ".record",
        binary = binary,
        binaries = binaries,
        platform = platform,
        **(common | {"tags": (common.get("tags") or []) + ["manual"]})
    )
    return ["{}_{}".format(name, layer) for layer in layers]

def _join(patterns):
    """Joins strings and selects into one value: the elements of a list attribute cannot be selects."""
    joined = patterns[0]
    for pattern in patterns[1:]:
        joined += "\n" + pattern
    return joined

def _number(name, value):
    """The attribute for a number: a string attribute, or for a select of numbers an integer attribute.

    Strings are preferred, since integer attributes end at 2^31 - 1. Starlark exposes the contents of a
    select only as text.
    """
    if type(value) == "int":
        return {name: str(value)}
    if type(value) == "select":
        first = str(value).replace("\"): ", "\": ").partition("\": ")[2]
        if first[:1].isdigit() or first[:1] == "-":
            return {name + "_number": value}
    return {name: value}

def _split(where, split):
    """The attributes for `split`: a number, which may be a select, or a dict."""
    if type(split) not in ["NoneType", "int", "dict", "select"]:
        fail("{}: split must be a number, or a dict from layer groups to numbers, not {}".format(where, repr(split)))
    if type(split) != "dict":
        return {"split_packages": split}
    for name, count in split.items():
        if type(count) != "int":
            fail("{}: split: the number of layers of {} must be a number, not {}{}".format(
                where,
                repr(name),
                repr(count),
                "; only a number instead of the dict can be a select" if type(count) == "select" else "",
            ))
    return {"split": {name: str(count) for name, count in split.items()}}

def _check_group(where, name, pattern):
    if pattern == None:
        defaults = {default: None for default, _ in DEFAULT_GROUPS if default != DEFAULT_GROUP}.keys()
        if name not in defaults:
            fail("{}: only the default groups {} can be dropped with None; give layer group {} a pattern, or use exclude".format(
                where,
                " and ".join(defaults),
                repr(name),
            ))
        return
    if type(pattern) not in ["string", "select"]:
        fail("{}: layer group {} requires a regular expression, not {}".format(where, repr(name), repr(pattern)))
    if not name or not all([char.isalnum() or char in "_-.+" for char in name.elems()]):
        fail("{}: layer group {} becomes part of a target's name: use letters, digits, _, -, . and +".format(where, repr(name)))
    if name in _RESERVED_GROUPS or name.startswith(("_", ".")):
        fail("{}: choose another name for layer group {}: {} and names that begin with _ or . are reserved".format(
            where,
            repr(name),
            ", ".join(_RESERVED_GROUPS),
        ))

    # Line breaks separate the patterns in the rule's attribute, so this must be checked here.
    if type(pattern) == "string" and not is_line(pattern):
        fail("{}: the pattern of layer group {}, {}, {}".format(where, repr(name), repr(pattern), pattern_problem(pattern)))

def _py_image_layer_impl(ctx):
    settings = _settings(ctx)
    raw_groups = _groups(ctx)
    groups = [group for group in image_order(ctx.attr.group_names) if group not in ctx.attr.dropped]

    # With its transition, the attribute for one label is a list.
    binary = ctx.attr.binary
    binaries = (binary if type(binary) == "list" else [binary] if binary else []) + ctx.attr.binaries
    if not binaries:
        fail("there is no binary: binaries is empty, or py_binary is None in a select")
    runfiles = image_runfiles(ctx, binaries, settings.root, settings.runfiles_root)
    directory = runfiles.prefix.removesuffix("/")
    own_groups = [
        (name, for_binary(pattern, directory, runfiles.found))
        for name, pattern in raw_groups
        if (name, pattern) not in DEFAULT_GROUPS
    ]
    default_groups = _default_groups(binaries, directory, runfiles.found, [pair for pair in raw_groups if pair in DEFAULT_GROUPS])
    patterns = struct(
        own_groups = own_groups,
        default_groups = default_groups,
        groups = own_groups + default_groups,
        exclude = [for_binary(pattern, directory, runfiles.found) for pattern in settings.exclude],
        dropped = ctx.attr.dropped,
        split = _checked_split(ctx, groups),
    )
    members = partition(runfiles, patterns)
    image = write_image_settings(ctx, settings, patterns)
    group_settings = write_groups(ctx, patterns, runfiles)

    # The layers of each group that may have files.
    filled = {
        group: [
            layer
            for layer in layers_of_group(group, patterns.split)
            if members[layer].files or members[layer].lines
        ]
        for group in groups
    }
    _check_layers(ctx, filled)

    wheels = wheels_by_layer(runfiles, members, ctx.files.wheels) if is_lifted(settings.compress, settings.level) else {}

    # The label of a group without any provides a layer, since rules require a file; the image does not contain it.
    provided = {group: layers or layers_of_group(group, patterns.split)[:1] for group, layers in filled.items()}
    written = {
        layer: write_layer(ctx, settings, image, group_settings, layer, members[layer], wheels.get(layer, []))
        for layers in provided.values()
        for layer in layers
    }
    in_image = {layer: written[layer] for layers in filled.values() for layer in layers}
    raw_own_groups = [pair for pair in raw_groups if pair not in DEFAULT_GROUPS]
    unused = [pair for pair in raw_own_groups if not filled.get(pair[0])]
    left_out = write_left_out(ctx, members[NO_LAYER])
    validation = []
    if ctx.attr.validation != "off":
        validation.append(validate_layers(ctx, settings, patterns, image, group_settings, runfiles, in_image, left_out))
    if unused:
        validation.append(report_unused_groups(ctx, unused, runfiles.found.packages.keys(), settings.runfiles_root))
    report = write_report(ctx, settings, patterns, raw_own_groups, image, group_settings, runfiles, in_image, members, left_out)
    image_config = write_image_config(ctx, binaries[0], runfiles)
    config = {
        part: depset([file] if file else [])
        for part, file in image_config.files.items()
    }

    # A layer group may be called `config`.
    layers = {"config": depset(transitive = config.values())} | {
        group: depset([written[layer].layer for layer in layers], order = "preorder")
        for group, layers in provided.items()
    }
    return [
        DefaultInfo(files = depset([files.layer for files in in_image.values()], order = "preorder")),
        OutputGroupInfo(
            descriptors = depset([files.descriptor for files in in_image.values()]),
            listings = depset([files.listing for files in in_image.values()]),
            report = depset([report.page, report.contents]),
            _validation = depset(validation),
            **(layers | {config_group(part): files for part, files in config.items()})
        ),
        PyImageLayersInfo(
            layers = [_layer_info(layer, files, members[layer]) for layer, files in in_image.items()],
            entrypoint = image_config.entrypoint,
            cmd = image_config.cmd,
            env = image_config.env,
            working_dir = image_config.working_dir,
        ),
        report,
    ] + rules_img_providers(in_image.values(), settings.compress, image_config)

def _layer_info(layer, files, members):
    """What `PyImageLayersInfo` says about one layer."""
    return struct(
        name = layer,
        file = files.layer,
        descriptor = files.descriptor,
        listing = files.listing,
        distributions = members.distributions,
    )

def _default_groups(binaries, directory, found, groups):
    """The default groups. Binaries that say what they consist of need no patterns for names."""
    infos = [binary[PyBinaryInfo] for binary in binaries if PyBinaryInfo in binary]
    if len(infos) < len(binaries):
        return [(name, for_binary(pattern, directory, found)) for name, pattern in groups]
    directories = {
        "interpreter": depset(transitive = [info.interpreters for info in infos]).to_list(),
        "packages": depset(transitive = [info.distributions for info in infos]).to_list(),
    }
    names = {name: None for name, _ in groups}
    return [
        (name, directories_pattern(directory, members))
        for name, members in directories.items()
        if name in names
    ]

def _checked_split(ctx, groups):
    """The numbers of layers of those `groups` that become several."""
    split = {group: int(count) for group, count in ctx.attr.split.items()}
    if ctx.attr.split_packages != _UNSET_NUMBER:
        split["packages"] = ctx.attr.split_packages
    for group, count in split.items():
        if group in ctx.attr.dropped:
            fail("split: layer group {} is left out of the image by layer_groups = {{{}: None}}".format(repr(group), repr(group)))
        if group not in groups:
            fail("split: there is no layer group {}; the groups are {}".format(repr(group), ", ".join(groups)))
        if count < 1 or count > _MAX_LAYERS:
            fail("split: {} cannot become {} layers: write a number from 1 to {}".format(group, count, _MAX_LAYERS))
        taken = [layer for layer in layers_of_group(group, split) if layer != group and layer in groups]
        if taken:
            fail("split: layer group {} has the name of a layer of the group {}: choose another name".format(repr(taken[0]), repr(group)))
    return {group: count for group, count in split.items() if count > 1}

def _check_layers(ctx, filled):
    """Checks that there are not too many layers."""
    count = len([layer for layers in filled.values() for layer in layers])
    if ctx.attr.max_layers == _UNSET_NUMBER:
        return
    if ctx.attr.max_layers < 1:
        fail("max_layers is {}: write a number from 1".format(ctx.attr.max_layers))
    if count > ctx.attr.max_layers:
        fail("there are {} layers, and max_layers is {}: {}; reduce split or layer_groups".format(
            count,
            ctx.attr.max_layers,
            ", ".join(["{} of {}".format(len(layers), group) for group, layers in filled.items() if layers]),
        ))

def _groups(ctx):
    """The names and patterns of all groups, in matching order."""
    names, patterns = ctx.attr.group_names, ctx.attr.group_patterns.split("\n")
    if len(names) != len(patterns):
        fail("layer_groups: a pattern contains a line break: write it as \\n, or \\r")
    groups = [(name, normalize_pattern(pattern)) for name, pattern in zip(names, patterns)]
    for (name, pattern), original in zip(groups, patterns):
        # None in a select arrives as an empty pattern.
        if not pattern:
            fail("the pattern of layer group {} is empty (or None in a select), and would match every path: write \".\" for every path, \"[^\\\\s\\\\S]\" for none".format(repr(name)))

        # Patterns of the default groups contain placeholders in braces, which are filled in later.
        problem = (name, pattern) not in DEFAULT_GROUPS and pattern_problem(pattern)
        if problem:
            fail("the pattern of layer group {}, {}, {}".format(repr(name), repr(original), problem))
    return groups

def _settings(ctx):
    """Checks the attributes, and returns their values."""
    root = _directory("root", ctx.attr.root)
    runfiles_root = _directory("runfiles_root", ctx.attr.runfiles_root)
    if ctx.attr.runfiles_root and not runfiles_root.endswith(".runfiles"):
        fail("runfiles_root is {}: launchers find a runfiles directory by its name, which must end in .runfiles, such as /app/.runfiles".format(repr(ctx.attr.runfiles_root)))
    if ctx.attr.binaries and not runfiles_root:
        fail("binaries requires runfiles_root, the directory that they share, such as /app/.runfiles")
    if ctx.attr.compress not in EXTENSIONS:
        names = ", ".join([repr(name) for name in EXTENSIONS if name])
        fail("compress is {}: use {}, or \"\" for a plain tar".format(repr(ctx.attr.compress), names))
    tar_args, problem = parse_tar_args(ctx.attr.tar_args, ctx.attr.compress)
    if problem:
        fail("tar_args: " + problem)
    mode = ctx.attr.mode
    is_octal = mode.isdigit() and "8" not in mode and "9" not in mode
    if mode and mode != "detect" and not (is_octal and int(mode, 8) <= _MAX_MODE):
        fail("mode is {}: use octal permissions such as \"0755\", or \"detect\"".format(repr(mode)))
    exclude = [normalize_pattern(pattern) for pattern in ctx.attr.exclude]
    exceptions = [normalize_pattern(pattern) for pattern in ctx.attr.validation_exceptions]
    for attribute, patterns in [("exclude", exclude + tar_args.exclude), ("validation_exceptions", exceptions)]:
        for pattern in patterns:
            problem = pattern_problem(pattern) if pattern else "matches every path: write \".\" if that is meant"
            if problem:
                fail("{}: {} {}".format(attribute, repr(pattern), problem))
    return struct(
        root = root,
        runfiles_root = runfiles_root or None,
        exclude = tar_args.exclude + exclude,
        # How many of them are from `tar_args`.
        tar_args_excludes = len(tar_args.exclude),
        max_layers = ctx.attr.max_layers if ctx.attr.max_layers != _UNSET_NUMBER else None,
        validation_exceptions = exceptions,
        compress = ctx.attr.compress,
        level = int(tar_args.level) if tar_args.level else None,
        owner = _checked_number(ctx, "owner", _MAX_ID, "--uid", tar_args.owner),
        group = _checked_number(ctx, "group", _MAX_ID, "--gid", tar_args.group),
        owner_name = tar_args.owner_name,
        group_name = tar_args.group_name,
        mtime = _checked_number(ctx, "mtime", _MAX_TIME, "--mtime", tar_args.mtime),
        mode = mode or None,
        dedupe = ctx.attr.dedupe,
        lazy = _lazy(ctx),
        prefetch = _prefetch(ctx),
    )

def _lazy(ctx):
    """The checked attribute `lazy`, or `None`."""
    lazy, compress = ctx.attr.lazy, ctx.attr.compress
    if lazy and compress != _LAZY_CODECS[lazy]:
        fail("lazy is {}, which requires compress = {}, not {}".format(repr(lazy), repr(_LAZY_CODECS[lazy]), repr(compress)))
    return lazy or None

def _prefetch(ctx):
    """The file of the attribute `prefetch`, or `None`."""
    if ctx.file.prefetch and ctx.attr.lazy != "estargz":
        fail("prefetch requires lazy = \"estargz\": files of other layers are not fetched at once")
    if ctx.file.prefetch and ctx.file.prefetch.is_directory:
        fail("prefetch: {} is a directory; name a file with a path in each line".format(ctx.attr.prefetch.label))
    return ctx.file.prefetch

def _directory(attribute, value):
    """Checks a directory of the image, and removes slashes at both ends."""
    if value and not value.startswith("/"):
        fail("{0} must be an absolute directory: write \"/{1}\", not \"{1}\"".format(attribute, value))
    if [part for part in value.split("/") if part in [".", ".."]]:
        fail("{} is {}: remove . and ..".format(attribute, repr(value)))
    if not is_line(value):
        fail("{} is {}: remove line breaks".format(attribute, repr(value)))
    return "/".join([part for part in value.split("/") if part])

def _checked_number(ctx, name, greatest, option, option_value):
    """The number in an attribute, or else in an option of `tar_args`, or else `None`."""
    number = getattr(ctx.attr, name + "_number")
    value = str(number) if number != _UNSET_NUMBER else getattr(ctx.attr, name)
    if value and not value.isdigit():
        fail("{} is {}: write a whole number from 0 to {}".format(name, repr(value), greatest))
    if not value:
        name, value = "tar_args: " + option, option_value
    if value and int(value) > greatest:
        fail("{} is {}: the maximum is {}".format(name, value, greatest))
    return int(value) if value else None

_py_image_layer = rule(
    implementation = _py_image_layer_impl,
    doc = "The layers of an image.",
    attrs = {
        "binary": attr.label(
            doc = "Any executable target with runfiles.",
            allow_files = True,
            cfg = platform_transition,
            aspects = [binary_closure],
        ),
        "binaries": attr.label_list(
            doc = "Several such targets instead of one.",
            allow_files = True,
            cfg = platform_transition,
            aspects = [binary_closure],
        ),
        "root": attr.string(doc = "Absolute path of the directory that everything goes into."),
        "runfiles_root": attr.string(doc = "Absolute path of the directory for the runfiles."),
        "split": attr.string_dict(doc = "How many layers groups become."),
        "split_packages": attr.int(doc = "How many layers the group `packages` becomes.", default = _UNSET_NUMBER),
        "max_layers": attr.int(doc = "The greatest number of layers.", default = _UNSET_NUMBER),
        "group_names": attr.string_list(doc = "In matching order."),
        "group_patterns": attr.string(doc = "A line for each name."),
        "compress": attr.string(doc = "Codec; empty for a plain tar.", default = CODECS[0]["name"]),
        "tar_args": attr.string_list(doc = "bsdtar options."),
        "dropped": attr.string_list(doc = "Default groups that are left out of the image."),
        "exclude": attr.string_list(doc = "Patterns of excluded paths."),
        "mtime": attr.string(doc = "Seconds since 1970."),
        "mtime_number": attr.int(doc = "The same, from a select of numbers.", default = _UNSET_NUMBER),
        "mode": attr.string(doc = "Permissions of files, in octal."),
        "dedupe": attr.bool(doc = "Whether equal files are stored once per layer.", default = True),
        "validation": attr.string(
            doc = "What to do if the layers do not match the runfiles.",
            default = "error",
            values = ["error", "warn", "off"],
        ),
        "validation_exceptions": attr.string_list(doc = "Patterns of paths with accepted problems."),
        "wheels": attr.label_list(
            doc = "Wheels that gzip layers may be lifted from.",
            allow_files = [".whl"],
            cfg = platform_transition,
        ),
        "lazy": attr.string(
            doc = "Format of layers that can be pulled in part.",
            values = [""] + _LAZY_CODECS.keys(),
        ),
        "prefetch": attr.label(
            doc = "List of the files that the binary reads when it starts.",
            allow_single_file = True,
        ),
        "platform": attr.label(doc = "Platform to build the binary for."),
        "owner": attr.string(doc = "User ID of every entry."),
        "owner_number": attr.int(doc = "The same, from a select of numbers.", default = _UNSET_NUMBER),
        "group": attr.string(doc = "Group ID of every entry."),
        "group_number": attr.int(doc = "The same, from a select of numbers.", default = _UNSET_NUMBER),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    provides = [PyImageLayersInfo],
    toolchains = [TOOLCHAIN_TYPE],
)
