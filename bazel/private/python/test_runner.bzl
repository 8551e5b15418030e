"""Test runners: what a test runs instead of a main file of its own."""

load("//bazel/private:runfiles.bzl", "runfiles_path")
load(":expand.bzl", "expand")
load(":sources.bzl", "DATA", "SOURCE_ATTRIBUTES", "collect", "library_providers")
load(":virtual.bzl", "virtual_info")

PyTestMainInfo = provider(
    doc = "A main file that `py_pytest_main` made.",
    fields = {
        "arguments": "list of arguments of pytest",
        "directory": "the directory that tests run in, relative to the runfiles of the main repository, or the empty string",
        "mains": "list of the Files that may be the main file",
    },
)

RUNNER_ATTRIBUTES = {
    "runner": attr.string(
        doc = "What runs the tests in `srcs`, if not a main file.",
        values = ["", "pytest", "unittest"],
    ),
    "runner_args": attr.string_list(doc = "Arguments of the runner."),
    "_test_main": attr.label(default = ":test_main.py", allow_single_file = True),
    "_test_main_files": attr.label(default = ":test_main"),
}

def test_runner(ctx):
    """Determines the runner of a test.

    Args:
        ctx: the rule's context.

    Returns:
        `None`, or a struct of `main`, a File; `texts`, as for `declare_environment`; `files`, a list of runfiles.
    """
    runner = getattr(ctx.attr, "runner", "")
    arguments = [expand(ctx, "runner_args", argument) for argument in getattr(ctx.attr, "runner_args", [])]
    directory, stand_ins = "", []
    for target in ctx.attr.deps if hasattr(ctx.attr, "runner") else []:
        info = target[PyTestMainInfo] if PyTestMainInfo in target else None
        if info and [file for file in info.mains if file in ctx.files.srcs + ctx.files.main_file]:
            runner, directory, stand_ins = "pytest", info.directory, info.mains
            arguments = info.arguments + arguments
    if not runner:
        return None
    settings = {
        "runner": runner,
        "sources": [
            runfiles_path(file.short_path, ctx.workspace_name)
            for file in ctx.files.srcs
            if file not in stand_ins
        ],
        "arguments": arguments,
    } | ({"directory": directory} if directory else {})
    return struct(
        main = ctx.file._test_main,
        texts = {"test.json": json.encode_indent(settings, indent = "  ") + "\n"},
        files = ctx.files._test_main_files,
    )

def _py_pytest_main_impl(ctx):
    mains = [ctx.outputs.main, ctx.outputs.wrapped]
    for file in mains:
        ctx.actions.write(file, "raise SystemExit('This file stands for pytest as the main file of a py_test.')\n")
    collected = collect(ctx, ctx.attr.deps, ctx.attr.data)
    return [
        DefaultInfo(files = depset([ctx.outputs.main]), default_runfiles = collected.runfiles),
        PyTestMainInfo(arguments = ctx.attr.arguments, directory = ctx.attr.directory, mains = mains),
    ] + library_providers(ctx, collected, virtual_info([], {}, ctx.attr.deps))

py_pytest_main = rule(
    implementation = _py_pytest_main_impl,
    doc = "A main file for tests that pytest runs.",
    attrs = SOURCE_ATTRIBUTES | {
        "arguments": attr.string_list(doc = "Arguments of pytest."),
        "data": attr.label_list(**DATA),
        "directory": attr.string(doc = "The directory that tests run in."),
        "main": attr.output(doc = "The file, under the name that early versions of aspect_rules_py gave it.", mandatory = True),
        "wrapped": attr.output(doc = "The same, under the name that later versions give it.", mandatory = True),
    },
)
