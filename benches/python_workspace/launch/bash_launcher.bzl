"""A launcher in bash, such as older rules have: a short script that finds its runfiles and executes the interpreter."""

_SCRIPT = """\
#!/usr/bin/env bash
set -o errexit -o nounset -o pipefail

if [[ -d "$0.runfiles" ]]; then
  RUNFILES_DIR="$0.runfiles"
elif [[ "$0" == *.runfiles/* ]]; then
  RUNFILES_DIR="${{0%.runfiles/*}}.runfiles"
elif [[ -z "${{RUNFILES_DIR:-}}" ]]; then
  echo >&2 "$0: there are no runfiles"
  exit 1
fi
export RUNFILES_DIR
export VIRTUAL_ENV="$RUNFILES_DIR/{venv}"
exec "$VIRTUAL_ENV/bin/python3" -B -I "$RUNFILES_DIR/{main}" "$@"
"""

def _bash_launcher_impl(ctx):
    binary = ctx.attr.binary
    package = ctx.workspace_name + "/" + binary.label.package
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(
        executable,
        _SCRIPT.format(
            main = ctx.workspace_name + "/" + ctx.file.main.short_path,
            venv = "{}/_{}.venv".format(package, binary.label.name),
        ),
        is_executable = True,
    )
    return [DefaultInfo(
        executable = executable,
        runfiles = ctx.runfiles().merge(binary[DefaultInfo].default_runfiles),
    )]

bash_launcher = rule(
    implementation = _bash_launcher_impl,
    doc = "Starts a binary's main file in its virtual environment, without its own launcher.",
    attrs = {
        "binary": attr.label(mandatory = True),
        "main": attr.label(allow_single_file = True, mandatory = True),
    },
    executable = True,
)
