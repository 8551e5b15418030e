"""Learns from a binary's dependencies what its runfiles do not tell.

*Declared symlinks.* A link of `ctx.actions.declare_symlink` is right at its place in the runfiles and
usually dangles in the execution root; its own text belongs into the image. What is on disk cannot
tell it from a file: in a sandbox every input is a link. Bazel 8 knows by `File.is_symlink`; Bazel 7
shows it only to an aspect, as the output of an `UnresolvedSymlink` action. A program may make one as
well, which Bazel 7 does not show; the outputs of `Symlink` actions are known to be none.

*The processor* that the binary is built for, which its rule's transitions may have chosen.
"""

load(":tables.bzl", "PROCESSORS")

BinaryClosureInfo = provider(
    doc = "What an aspect found in the transitive closure of a binary.",
    fields = {
        "cpu": "name of the target platform's processor in `@platforms//cpu`, or None",
        "declared_symlinks": "depset of File: those that Bazel makes",
        "file_symlinks": "depset of File: links that stand for the file that they lead to",
    },
)

_CPUS = [row["cpu"] for row in PROCESSORS if "cpu" in row]

# Mnemonics of actions by which Bazel itself makes links to files.
_FILE_SYMLINKS = ["ExecutableSymlink", "SolibSymlink", "Symlink"]

def _binary_closure_impl(target, ctx):
    declared_symlinks = []
    file_symlinks = []
    for action in target.actions:
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
    cpus = [
        cpu
        for cpu in _CPUS
        if ctx.target_platform_has_constraint(getattr(ctx.attr, "_" + cpu)[platform_common.ConstraintValueInfo])
    ]
    return [BinaryClosureInfo(
        cpu = cpus[0] if cpus else None,
        declared_symlinks = depset(declared_symlinks, transitive = [info.declared_symlinks for info in dependencies]),
        file_symlinks = depset(file_symlinks, transitive = [info.file_symlinks for info in dependencies]),
    )]

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
