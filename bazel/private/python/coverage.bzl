"""Coverage of Python code, when Bazel collects it."""

load("//bazel/private:runfiles.bzl", "runfiles_path")
load(":reserved.bzl", "COVERAGE_MODULE", "COVERAGE_PTH")

COVERAGE_ATTRIBUTES = {
    "_coverage": attr.label(default = ":" + COVERAGE_MODULE, allow_single_file = True),
}

# Merges the reports of the processes of a test.
LCOV_MERGER = {
    "_lcov_merger": attr.label(
        default = configuration_field(fragment = "coverage", name = "output_generator"),
        executable = True,
        cfg = "exec",
    ),
}

def coverage_files(ctx, runtime):
    """What an environment needs to record coverage.

    Args:
        ctx: the rule's context.
        runtime: what `python_runtime` returns.

    Returns:
        A struct of `texts` and `site_files`, as for `declare_environment`, and `files`, a depset of other runfiles.
    """
    if not ctx.configuration.coverage_enabled:
        return struct(texts = {}, site_files = {}, files = depset())
    tool = "None"
    if runtime.coverage_tool:
        # The toolchain's is the file coverage/__main__.py.
        package = runfiles_path(runtime.coverage_tool.short_path, ctx.workspace_name).rpartition("/")[0]
        tool = json.encode(package.rpartition("/")[0])
    module = COVERAGE_MODULE.removesuffix(".py")
    start = "import {0}; {0}.start({1}, {2})\n".format(module, json.encode("{venv}"), tool)
    return struct(
        texts = {"{site_packages}/" + COVERAGE_PTH: start},
        site_files = {COVERAGE_MODULE: ctx.file._coverage},
        files = runtime.coverage_files,
    )
