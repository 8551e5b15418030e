"""Makes a virtual environment for IDEs and debuggers, outside of the build.

    bazel run //app:server.venv [-- DIRECTORY]

makes `.app+server.venv` in the workspace, or DIRECTORY, from the virtual environment of the binary, which is the one
that this program runs in. It makes the environment anew each time, so packages that were installed with pip are
gone then. The environment has:

- `site-packages` with links to the files that runfiles lead to, in Bazel's output base. They are valid until
  `bazel clean --expunge`, or until Bazel fetches a repository again: run the target again then.
- Import roots of the main repository as directories of the workspace, so that an IDE opens the sources that one
  edits, followed by those with generated sources in `bazel-bin`. Python finds a generated file only if its
  directory has no `__init__.py` among the sources.
- The console scripts of all packages, and scripts that activate the environment.
"""

import os
import re
import shutil
import sys
import types

# In pyvenv.cfg, where Python ignores unknown keys.
MARKER = "made-by = rules_pylayer"

# The environment's own files in site-packages, as in `reserved.bzl`. Those for coverage are of no use here.
FIRST_PARTY_PTH = "_first_party.pth"
COVERAGE_FILES = ("_pylayer_coverage.pth", "_pylayer_coverage.py")
SKIPPED = ("__pycache__", *COVERAGE_FILES)

# With a file of this name in a directory, Bazel does not follow the links there to find packages for `//...`.
DO_NOT_FOLLOW = "DONT_FOLLOW_SYMLINKS_WHEN_TRAVERSING_THIS_DIRECTORY_VIA_A_RECURSIVE_TARGET_PATTERN"

# The longest interpreter path in the first line of a script that every Linux accepts.
LONGEST_SHEBANG = 127


def main(arguments):
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if not workspace:
        return "Start this program with `bazel run`."
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        return "usage: bazel run TARGET [-- DIRECTORY]"
    build = Build(os.environ["RUNFILES_DIR"], sys.prefix, workspace)
    if arguments:
        target = os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", workspace), arguments[0])
    else:
        target = os.path.join(workspace, "." + "+".join(filter(None, [build.package.replace("/", "+"), build.name])))
    target = os.path.abspath(target)
    if os.path.lexists(target) and not is_ours(target):
        return "{} exists, and was not made by this program. Remove it, or name another directory.".format(target)

    staging = "{}.new-{}".format(target, os.getpid())
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        make(build, staging, target)
        replace(staging, target)
    except OSError as error:
        return "Cannot make {}: {}".format(target, error)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    print("Made {0}\nIts interpreter is {0}/bin/python".format(target))
    return 0


def is_ours(path):
    try:
        with open(os.path.join(path, "pyvenv.cfg"), encoding="utf-8") as file:
            return MARKER in file.read().splitlines()
    except OSError:
        return False


def replace(staging, target):
    """Moves the new environment to its place. Nothing is at that place for a moment, but never a part."""
    old = "{}.old-{}".format(target, os.getpid())
    if os.path.exists(target):
        os.rename(target, old)
    os.rename(staging, target)
    shutil.rmtree(old, ignore_errors=True)


# --- what the build has -------------------------------------------------------------------------


class Build:
    """The virtual environment in the runfiles, and the directories that belong to it."""

    def __init__(self, runfiles, venv, workspace):
        self.runfiles = os.path.abspath(runfiles)
        self.workspace = workspace
        self.site_packages = os.path.join(
            venv, "lib", os.path.basename(os.path.dirname(os.__file__)), "site-packages"
        )
        # "_main", "app" and "_server.venv"
        repository, _, rest = os.path.relpath(venv, self.runfiles).partition("/")
        self.package, _, name = rest.rpartition("/")
        # The target of this program is called `server.venv`, too, and so its environment `_server.venv.venv`.
        name = name[1:] if name.startswith("_") else name
        self.name = name[: -len(".venv")] if name.endswith(".venv.venv") else name
        # Without Bzlmod, it has the name of the workspace.
        main = os.path.join(self.runfiles, "_main")
        self.main_repository = main if os.path.isdir(main) else os.path.join(self.runfiles, repository)

    def bin_directory(self):
        """The directory of outputs, `bazel-bin` for the configuration of this target."""
        # PKG/server.venv.runfiles
        directory = os.path.dirname(self.runfiles)
        if not self.package:
            return directory
        if directory.endswith("/" + self.package):
            return directory[: -len(self.package) - 1]
        return os.path.join(self.workspace, "bazel-bin")

    def is_runfile(self, path):
        return (path + "/").startswith(self.runfiles + "/")

    def resolve(self, path):
        """What to link to for a path in the runfiles: a path outside, or by name, what a directory consists of.

        A directory of runfiles has a link for each file. If they lead to the same paths below one directory, that
        is the result. A directory of the environment itself stays one: shared objects in it look for those of other
        distributions relative to it.
        """
        real = os.path.realpath(path)
        if not os.path.isdir(real) or not self.is_runfile(real):
            return real
        is_layout = (real + "/").startswith(os.path.realpath(self.site_packages) + "/")
        children = {name: self.resolve(os.path.join(real, name)) for name in os.listdir(real) if name not in SKIPPED}
        if is_layout:
            return children
        parents = {
            os.path.dirname(child) if isinstance(child, str) and os.path.basename(child) == name else None
            for name, child in children.items()
        }
        return parents.pop() if len(parents) == 1 and None not in parents else children

    def import_roots(self, line):
        """The directories outside of the runfiles for a path in `_first_party.pth`."""
        path = os.path.normpath(os.path.join(self.site_packages, line))
        if (path + "/").startswith(self.main_repository + "/"):
            relative = os.path.relpath(path, self.main_repository)
            return [os.path.normpath(os.path.join(top, relative)) for top in (self.workspace, self.bin_directory())]
        if path == self.runfiles:
            return [path]
        resolved = self.resolve(path)
        return [resolved if isinstance(resolved, str) else path]


# --- the new environment ------------------------------------------------------------------------


def make(build, directory, target):
    """Writes the environment into a new directory, which is going to be moved to `target`."""
    binaries = os.path.join(directory, "bin")
    site_packages = os.path.join(directory, os.path.relpath(build.site_packages, sys.prefix))
    os.makedirs(binaries)
    os.makedirs(site_packages)
    interpreter = os.path.realpath(sys.executable)
    version = "{}.{}".format(*sys.version_info)
    os.symlink(interpreter, os.path.join(binaries, "python" + version))
    for name in ("python", "python3"):
        os.symlink("python" + version, os.path.join(binaries, name))
    write(
        os.path.join(directory, "pyvenv.cfg"),
        "home = {}\ninclude-system-site-packages = false\nversion = {}\n{}\n".format(
            os.path.dirname(interpreter), sys.version.split()[0], MARKER
        ),
    )
    write(os.path.join(directory, ".gitignore"), "*\n")

    for name in sorted(os.listdir(build.site_packages)):
        path = os.path.join(build.site_packages, name)
        if name == FIRST_PARTY_PTH:
            with open(path, encoding="utf-8") as file:
                lines = [line for text in file.read().splitlines() for line in first_party(build, text)]
            write(os.path.join(site_packages, name), "".join(line + "\n" for line in dict.fromkeys(lines)))
        elif name not in SKIPPED:
            link(build.resolve(path), os.path.join(site_packages, name))
    write(os.path.join(site_packages, DO_NOT_FOLLOW), "")
    make_console_scripts(build, binaries, target)
    make_activation_scripts(binaries, target)


def first_party(build, line):
    """The lines for one line of `_first_party.pth`."""
    if line.startswith(("import ", "import\t")):
        # The code joins relative paths, in quotes, with the directory of the .pth file.
        return [re.sub(r"""(["'])(\.\./[^"']*)\1""", lambda m: repr(build.import_roots(m.group(2))[0]), line)]
    return build.import_roots(line) if line and not line.startswith("#") else []


def link(resolved, path):
    if isinstance(resolved, str):
        os.symlink(resolved, path)
        return
    os.mkdir(path)
    write(os.path.join(path, DO_NOT_FOLLOW), "")
    for name, child in resolved.items():
        link(child, os.path.join(path, name))


def make_console_scripts(build, binaries, target):
    for script, module, function in console_scripts(build.site_packages):
        path = os.path.join(binaries, os.path.basename(script))
        if os.path.lexists(path):
            continue
        code = "import sys\nfrom {} import {}\nsys.exit({}())\n".format(module, function.split(".")[0], function)
        write(path, shebang(os.path.join(target, "bin", "python")) + code)
        os.chmod(path, 0o755)


def console_scripts(site_packages):
    """The name, module and function of each console script."""
    import configparser
    import glob

    for path in sorted(glob.glob(os.path.join(glob.escape(site_packages), "*.dist-info", "entry_points.txt"))):
        parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
        parser.optionxform = str
        parser.read(path, encoding="utf-8")
        for script, value in parser.items("console_scripts") if parser.has_section("console_scripts") else []:
            match = re.match(r"\s*([\w.]+)\s*:\s*([\w.]+)", value)
            if match:
                yield script, match.group(1), match.group(2)


def shebang(interpreter):
    if " " not in interpreter and len("#!" + interpreter) <= LONGEST_SHEBANG:
        return "#!{}\n".format(interpreter)
    # The shell executes the second line; for Python, it is a string.
    return "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n".format(interpreter)


def make_activation_scripts(binaries, target):
    try:
        import venv
    except ImportError:  # a stripped interpreter
        return
    templates = os.path.join(os.path.dirname(venv.__file__), "scripts")
    if os.path.isdir(templates):
        name = os.path.basename(target)
        context = types.SimpleNamespace(
            env_dir=target,
            env_name=name,
            prompt=name if sys.version_info >= (3, 13) else "({}) ".format(name),
            bin_path=binaries,
            bin_name="bin",
            env_exe=os.path.join(target, "bin", "python"),
            env_exec_cmd=os.path.join(target, "bin", "python"),
        )
        venv.EnvBuilder().install_scripts(context, templates)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
