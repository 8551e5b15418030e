"""The rules of `py_binary` and `py_test`."""

load("//bazel/private:py_binary_info.bzl", "PyBinaryInfo")
load("//bazel/private:runfiles.bzl", "runfiles_path")
load("//bazel/private:toolchain.bzl", "LAUNCHER_TOOLCHAIN_TYPE", "TOOLCHAIN_TYPE")
load(":collisions.bzl", "check_collisions")
load(":coverage.bzl", "COVERAGE_ATTRIBUTES", "LCOV_MERGER", "coverage_files")
load(":distributions.bzl", "DistributionsInfo")
load(":environment.bzl", "declare_environment")
load(":expand.bzl", "expand")
load(":launcher.bzl", "write_launcher")
load(":main.bzl", "find_main")
load(":runtime.bzl", "PYTHON_TOOLCHAIN_TYPE", "python_runtime")
load(":sources.bzl", "DATA", "SOURCE_ATTRIBUTES", "collect", "library_providers")
load(":test_runner.bzl", "RUNNER_ATTRIBUTES", "test_runner")
load(":version.bzl", "to_outer_python_versions", "to_python_version")
load(":virtual.bzl", "resolve", "virtual_info")

# -B: writes no caches into the runfiles. -I: nothing from the environment, the current directory or the user's
# packages can be imported. -P: nor can what is next to the main file.
_ISOLATED = ["-B", "-I"]
_NOT_ISOLATED = ["-B", "-P"]

# Options after which Python runs something else.
_INSTEAD_OF_MAIN = ["", "-", "--", "-?", "-h", "--help", "--help-all", "--help-env", "--help-xoptions", "-V", "-VV", "--version"]

# The first version with -P.
_SAFE_PATH_MINOR = 11

def _py_executable_impl(ctx):
    runtime = python_runtime(ctx, ctx.attr.python_version)
    runner = test_runner(ctx)
    main = runner.main if runner else find_main(ctx.label, ctx.files.srcs, ctx.attr.main, ctx.file.main_file)
    coverage = coverage_files(ctx, runtime)
    virtual = virtual_info([], {}, ctx.attr.deps)
    resolved = resolve(ctx.label, virtual, ctx.attr.resolutions)
    dependencies = ctx.attr.deps + resolved
    collected = collect(ctx, dependencies, ctx.attr.data)
    environment = declare_environment(
        ctx,
        runtime,
        dependencies,
        collected.imports,
        texts = coverage.texts | (runner.texts if runner else {}),
        site_files = coverage.site_files,
    )

    options = _interpreter_options(ctx, runtime)
    env = _environment_variables(ctx)
    executable = ctx.actions.declare_file(ctx.label.name)
    write_launcher(
        ctx,
        executable,
        kind = "launcher",
        venv = environment.path,
        main = runfiles_path(main.short_path, ctx.workspace_name),
        options = options,
        env = env if ctx.attr.env_in_launcher else {},
        python_version = ctx.attr.python_version,
        patchlevel = runtime.patchlevel,
    )
    scripts = [_console_script(ctx, name, environment, options) for name in ctx.attr.console_scripts]
    runfiles = ctx.runfiles(
        files = [main] + scripts + (runner.files if runner else []) + (ctx.files._console_script if scripts else []),
        transitive_files = depset(transitive = [runtime.files, coverage.files]),
    )
    infos = [target[DistributionsInfo] for target in dependencies + ctx.attr.data if DistributionsInfo in target]
    return [
        DefaultInfo(
            executable = executable,
            files = depset([executable]),
            runfiles = runfiles.merge_all([collected.runfiles, environment.runfiles]),
        ),
        RunEnvironmentInfo(
            environment = {
                "BAZEL_TARGET": str(ctx.label).lstrip("@"),
                "BAZEL_TARGET_NAME": ctx.label.name,
                "BAZEL_WORKSPACE": ctx.workspace_name,
            } | env,
            inherited_environment = ctx.attr.env_inherit,
        ),
        OutputGroupInfo(
            _validation = depset(check_collisions(ctx, ctx.attr.package_collisions, environment.duplicates)),
        ),
        PyBinaryInfo(
            args = [
                word
                for argument in ctx.attr.args
                for word in ctx.tokenize(expand(ctx, "args", argument))
            ],
            distributions = depset(transitive = [info.directories for info in infos]),
            env = env,
            interpreters = depset(
                [runtime.directory] if runtime.directory else [],
                transitive = [info.interpreters for info in infos],
            ),
        ),
    ] + library_providers(ctx, collected, virtual, ["main_file"])

def _interpreter_options(ctx, runtime):
    options = _ISOLATED if ctx.attr.isolated else _NOT_ISOLATED
    if int(runtime.version.removesuffix("t").split(".")[1]) < _SAFE_PATH_MINOR:
        options = [option for option in options if option != "-P"]
    own = [word for option in ctx.attr.interpreter_options for word in ctx.tokenize(option)]
    for option in own:
        if option in _INSTEAD_OF_MAIN or option.startswith(("-c", "-m")):
            fail("{}: interpreter_options has {}, with which Python does not run the main file".format(ctx.label, repr(option)))
    return options + own

def _console_script(ctx, name, environment, options):
    """Declares `bin/{name}` in the environment: a launcher with another main file."""
    if name in ["", ".", ".."] or "/" in name:
        fail("{}: console_scripts has {}, which is not the name of a console script".format(ctx.label, repr(name)))
    if name in environment.programs:
        fail("{}: console_scripts has {}, which is the interpreter".format(ctx.label, repr(name)))
    script = ctx.actions.declare_file("{}/bin/{}".format(environment.directory, name))
    write_launcher(
        ctx,
        script,
        kind = "bin.{}.launcher".format(name),
        venv = environment.path,
        main = runfiles_path(ctx.file._console_script.short_path, ctx.workspace_name),
        options = options + ["-X", "console_script=" + name],
    )
    return script

def _environment_variables(ctx):
    return {name: expand(ctx, "env", value) for name, value in ctx.attr.env.items()}

_EXECUTABLE_ATTRIBUTES = SOURCE_ATTRIBUTES | COVERAGE_ATTRIBUTES | {
    "data": attr.label_list(cfg = to_outer_python_versions, **DATA),
    "console_scripts": attr.string_list(doc = "Console scripts of dependencies that are put into the environment's `bin`."),
    "env": attr.string_dict(doc = "Variables that `bazel run` and `bazel test` set."),
    "env_in_launcher": attr.bool(doc = "Whether the program also sets `env` itself, unless a variable is set."),
    "env_inherit": attr.string_list(doc = "Variables that `bazel run` and `bazel test` pass on."),
    "interpreter_options": attr.string_list(doc = "Options of the interpreter, which are split into words as in a shell."),
    "isolated": attr.bool(doc = "Whether variables such as PYTHONPATH have no effect.", default = True),
    "main": attr.string(doc = "The end of the path of the main file, which is in `srcs`."),
    "main_file": attr.label(doc = "The main file.", allow_single_file = True),
    "package_collisions": attr.string(
        doc = "What to do if two distributions have a file of the same path.",
        default = "error",
        values = ["error", "warning", "ignore"],
    ),
    "python_version": attr.string(doc = "The version of Python, X.Y or X.Y.Z."),
    "_console_script": attr.label(default = ":console_script.py", allow_single_file = True),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
}

_TOOLCHAINS = [
    TOOLCHAIN_TYPE,
    config_common.toolchain_type(LAUNCHER_TOOLCHAIN_TYPE, mandatory = False),
    config_common.toolchain_type(PYTHON_TOOLCHAIN_TYPE, mandatory = False),
]

py_binary = rule(
    implementation = _py_executable_impl,
    doc = "A Python program.",
    attrs = _EXECUTABLE_ATTRIBUTES,
    cfg = to_python_version,
    executable = True,
    toolchains = _TOOLCHAINS,
)

py_test = rule(
    implementation = _py_executable_impl,
    doc = "A Python test.",
    attrs = _EXECUTABLE_ATTRIBUTES | RUNNER_ATTRIBUTES | LCOV_MERGER,
    cfg = to_python_version,
    test = True,
    toolchains = _TOOLCHAINS,
)
