"""Finds the machine's Python."""

_DESCRIBE = "import platform, sys; print(sys.executable, *sys.version_info[:2], platform.machine(), sep = '\\n')"

def find_python(ctx):
    """Describes the `python3` on the PATH.

    Args:
        ctx: a `module_ctx` or `repository_ctx`.

    Returns:
        A struct of `executable` (absolute path), `version` (such as "3.11") and `cpu` (such as
        "x86_64").
    """
    python = ctx.which("python3")
    if not python:
        fail("There is no python3 on the PATH; install CPython 3.11 or later.")
    description, error = describe_python(ctx, python)
    if error:
        fail("{} does not start:\n{}".format(python, error))
    return description

def describe_python(ctx, python):
    """Describes an interpreter.

    Args:
        ctx: a `module_ctx` or `repository_ctx`.
        python: its path.

    Returns:
        A struct as `find_python` returns it, and `None`; or `None` and a message, if the interpreter does not start.
    """
    result = ctx.execute([python, "-c", _DESCRIBE])
    if result.return_code:
        return None, result.stderr
    executable, major, minor, cpu = result.stdout.splitlines()
    return struct(
        executable = executable,
        version = "{}.{}".format(major, minor),
        cpu = cpu,
    ), None
