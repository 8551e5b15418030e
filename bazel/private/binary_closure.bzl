"""Collects facts about a binary's dependencies that runfiles do not provide.

*Declared symlinks.* The target of a `ctx.actions.declare_symlink` is correct at the link's place in the
runfiles, and usually dangles in the execution root. The image needs the link with its own target. The disk
does not distinguish it from a file, because every input is a link in a sandbox. Bazel 8 has
`File.is_symlink`. Bazel 7 shows a declared symlink only to an aspect, as the output of an
`UnresolvedSymlink` action, and not at all if an action's program creates it. The outputs of `Symlink`
actions are never declared symlinks.

*The launcher* of aspect_rules_py 1 makes a virtual environment in the runfiles directory, called `.<name>.venv`
whatever the binary's package is, so two such binaries with one name cannot share a directory.

*Wheels* that were installed as tree artifacts. The rules that do that have the wheel as an attribute.

*The processor* that the binary is built for, which may depend on transitions of its rule.
"""

load(":tables.bzl", "PROCESSORS")

BinaryClosureInfo = provider(
    doc = "Facts about the transitive closure of a binary.",
    fields = {
        "cpu": "name of the target platform's processor in `@platforms//cpu`, or None",
        "declared_symlinks": "depset of File: declared symlinks that Bazel itself creates",
        "file_symlinks": "depset of File: outputs that Bazel creates as links to files",
        "wheels": "depset of structs: `file`, a wheel, and `trees`, a tuple of the tree artifacts that were made of it",
        "makes_environment": "whether the launcher makes a virtual environment in the runfiles when it starts",
    },
)

_CPUS = [row["cpu"] for row in PROCESSORS if "cpu" in row]

# Mnemonics of Bazel's own actions that create links to files.
_FILE_SYMLINKS = ["ExecutableSymlink", "SolibSymlink", "Symlink"]

def _binary_closure_impl(target, ctx):
    declared_symlinks = []
    file_symlinks = []
    for action in getattr(target, "actions", []):
        if action.mnemonic == "UnresolvedSymlink":
            declared_symlinks.extend(action.outputs.to_list())
        elif action.mnemonic in _FILE_SYMLINKS:
            file_symlinks.extend(action.outputs.to_list())
    dependencies = []
    for name in dir(ctx.rule.attr):
        value = getattr(ctx.rule.attr, name)
        values = value if type(value) == "list" else value.keys() if type(value) == "dict" else [value]
        for dependency in values:
            if type(dependency) == "Target" and BinaryClosureInfo in dependency:
                dependencies.append(dependency[BinaryClosureInfo])
    wheels = _wheels(ctx)
    trees = tuple([file for file in target.files.to_list() if file.is_directory] if wheels else [])
    cpus = [
        cpu
        for cpu in _CPUS
        if ctx.target_platform_has_constraint(getattr(ctx.attr, "_" + cpu)[platform_common.ConstraintValueInfo])
    ]
    return [BinaryClosureInfo(
        cpu = cpus[0] if cpus else None,
        declared_symlinks = depset(declared_symlinks, transitive = [info.declared_symlinks for info in dependencies]),
        file_symlinks = depset(file_symlinks, transitive = [info.file_symlinks for info in dependencies]),
        wheels = depset(
            [struct(file = wheel, trees = trees) for wheel in wheels if trees],
            transitive = [info.wheels for info in dependencies],
        ),
        makes_environment = _is_of_aspect_rules_py_1(getattr(ctx.rule.attr, "_run_tmpl", None)),
    )]

def _wheels(ctx):
    """The wheels among the attributes for a single file."""
    files = [getattr(ctx.rule.file, name) for name in dir(ctx.rule.file)]
    return [file for file in files if type(file) == "File" and file.extension == "whl"]

def _is_of_aspect_rules_py_1(template):
    """Whether this is the template of its launcher."""
    if type(template) != "Target":
        return False
    return template.label.name == "run.tmpl.sh" and "aspect_rules_py" in template.label.repo_name

binary_closure = aspect(
    implementation = _binary_closure_impl,
    doc = "Collects `BinaryClosureInfo`.",
    attr_aspects = ["*"],
    attrs = {
        "_" + cpu: attr.label(default = Label("@platforms//cpu:" + cpu))
        for cpu in _CPUS
    },
    provides = [BinaryClosureInfo],
)
