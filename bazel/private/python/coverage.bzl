"""Coverage of Python code, when Bazel collects it."""

load("//bazel/private:runfiles.bzl", "runfiles_path")

COVERAGE_ATTRIBUTES = {
    "_coverage": attr.label(default = ":coverage", allow_files = True),
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
    start = "import _pylayer_coverage; _pylayer_coverage.start({}, {})\n".format(json.encode("{venv}"), tool)
    return struct(
        texts = {"{site_packages}/_pylayer_coverage.pth": start},
        site_files = {file.basename: file for file in ctx.files._coverage},
        files = runtime.coverage_files,
    )
