"""Repositories for the interpreter, the wheels and bsdtar of this machine."""

_FILES = """\
filegroup(
    name = "files",
    srcs = {srcs},
    visibility = ["//visibility:public"],
)
"""

def _folder_impl(rctx):
    for child in rctx.path(rctx.attr.path).readdir():
        rctx.symlink(child, child.basename)

    # Like pip rules, without the files that Bazel adds.
    rctx.file("BUILD.bazel", _FILES.format(srcs = 'glob(["**"], exclude = ["BUILD.bazel", "REPO.bazel"])'))

_folder = repository_rule(_folder_impl, attrs = {"path": attr.string()})

def _union_impl(rctx):
    rctx.file("BUILD.bazel", _FILES.format(srcs = ["@{}//:files".format(name) for name in rctx.attr.repositories]))

_union = repository_rule(_union_impl, attrs = {"repositories": attr.string_list()})

def _program_impl(rctx):
    program = rctx.attr.program
    rctx.symlink(rctx.which(program), program)
    rctx.file("BUILD.bazel", "exports_files([{}])".format(repr(program)))

_program = repository_rule(_program_impl, attrs = {"program": attr.string()})

def _repositories_impl(mctx):
    # Kept out of this file, because a change to it would recreate all repositories.
    folders = json.decode(mctx.read(Label("//:repositories.json")))
    for name, path in folders.items():
        _folder(name = name, path = path)
    _union(name = "runfiles", repositories = folders.keys())
    _program(name = "bsdtar", program = "bsdtar")

repositories = module_extension(implementation = _repositories_impl)
