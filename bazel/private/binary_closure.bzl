"""Learns from a binary's dependencies what its runfiles do not tell.

*Declared symlinks.* A link of `ctx.actions.declare_symlink` is right at its place in the runfiles and
usually dangles in the execution root; its own text belongs into the image. What is on disk cannot
tell it from a file: in a sandbox every input is a link. Bazel 8 knows by `File.is_symlink`; Bazel 7
shows it only to an aspect, as the output of an `UnresolvedSymlink` action.

*The processor* that the binary is built for, which its rule's transitions may have chosen.
"""

BinaryClosureInfo = provider(
    doc = "What an aspect found in the transitive closure of a binary.",
    fields = {
        "declared_symlinks": "depset of File",
        "elf_machine": "`e_machine` of the target platform (System V ABI), or None",
    },
)

_ELF_MACHINES = {
    "aarch64": 183,
    "arm": 40,
    "ppc64le": 21,
    "riscv64": 243,
    "s390x": 22,
    "x86_32": 3,
    "x86_64": 62,
}

def _binary_closure_impl(target, ctx):
    direct = []
    for action in target.actions:
        if action.mnemonic == "UnresolvedSymlink":
            direct.extend(action.outputs.to_list())
    transitive = []
    for name in dir(ctx.rule.attr):
        value = getattr(ctx.rule.attr, name)
        values = value if type(value) == "list" else value.keys() if type(value) == "dict" else [value]
        for dependency in values:
            if type(dependency) == "Target" and BinaryClosureInfo in dependency:
                transitive.append(dependency[BinaryClosureInfo].declared_symlinks)
    machines = [
        machine
        for cpu, machine in _ELF_MACHINES.items()
        if ctx.target_platform_has_constraint(getattr(ctx.attr, "_" + cpu)[platform_common.ConstraintValueInfo])
    ]
    return [BinaryClosureInfo(
        declared_symlinks = depset(direct, transitive = transitive),
        elf_machine = machines[0] if machines else None,
    )]

binary_closure = aspect(
    implementation = _binary_closure_impl,
    doc = "Collects `BinaryClosureInfo`.",
    attr_aspects = ["*"],
    attrs = {
        "_" + cpu: attr.label(default = Label("@platforms//cpu:" + cpu))
        for cpu in _ELF_MACHINES
    },
    provides = [BinaryClosureInfo],
)
