#!/usr/bin/env python3
"""configure_bazel.py DIR: configures Debian's Bazel to run from DIR/root, where it was unpacked.

The package expects its files at absolute paths below /usr. This script writes

  * the server's class path, with the paths of all jars in DIR/root;
  * DIR/bazelrc, which configures Bazel for these paths, and overrides every `bazel_dep` that a Python build
    needs with the modules that Debian packages, so that module resolution needs no network.
"""

import ast
import sys
import zipfile
from pathlib import Path

DIR = Path(sys.argv[1])
ROOT = DIR / "root"
INSTALL_BASE = ROOT / "usr/share/bazel"
STUBS = DIR / "stubs"


# --- class path -------------------------------------------------------------------------------


def class_path_of(jar):
    """The class path in a jar's own manifest, which has absolute paths in Debian."""
    with zipfile.ZipFile(jar) as archive:
        if "META-INF/MANIFEST.MF" not in archive.namelist():
            return []
        manifest = archive.read("META-INF/MANIFEST.MF").decode(errors="replace")
    unfolded = manifest.replace("\r\n", "\n").replace("\n ", "")
    for line in unfolded.splitlines():
        if line.lower().startswith("class-path:"):
            return [word for word in line.split()[1:] if word.startswith("/")]
    return []


def write_class_path():
    listing = INSTALL_BASE / "bazel_classpath_debian_depends.txt"
    jars = listing.read_text().split()
    for jar in jars:  # grows during the iteration, by the class paths of jars
        place = ROOT / jar.lstrip("/")
        if place.exists():
            jars += [other for other in class_path_of(place) if other not in jars]
    places = (ROOT / jar.lstrip("/") for jar in jars)
    listing.write_text("".join(f"{place}\n" for place in places if place.exists()))


# --- modules ----------------------------------------------------------------------------------


class Module:
    """A MODULE.bazel file. Its language is a subset of Python, so it is parsed as Python."""

    def __init__(self, folder):
        self.folder = folder
        self.tree = ast.parse((folder / "MODULE.bazel").read_text())
        self.name = next(self._calls("module"))["name"].value

    def _calls(self, function):
        for statement in self.tree.body:
            call = getattr(statement, "value", None)
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == function:
                yield {keyword.arg: keyword.value for keyword in call.keywords}

    def dependencies(self):
        """The names of the modules that this one depends on."""
        for arguments in self._calls("bazel_dep"):
            development = arguments.get("dev_dependency", ast.Constant(False))
            if getattr(development, "value", True) is False:
                yield arguments["name"].value


def make_stub(name):
    """An empty module, for one that bazel_tools depends on but a Python build does not use."""
    folder = STUBS / name
    folder.mkdir(parents=True)
    (folder / "MODULE.bazel").write_text(f'module(name = "{name}")\n')
    (folder / "BUILD.bazel").touch()
    if name == "buildozer":  # bazel_tools uses this extension for `bazel mod tidy`
        (folder / "buildozer_binary.bzl").write_text(
            "_repository = repository_rule(lambda repository: None)\n"
            "def _extension(module):\n"
            '    _repository(name = "buildozer_binary")\n'
            "buildozer_binary = module_extension(_extension)\n"
        )
    return Module(folder)


def modules_of_every_build():
    """The dependencies of bazel_tools by name: packaged modules, and stubs for those not packaged.

    Only these can be overridden, because overriding a module that a workspace does not use is an error.
    """
    packaged = {}
    for file in INSTALL_BASE.glob("*/*/MODULE.bazel"):
        module = Module(file.parent)
        packaged[module.name] = module

    modules = {}
    wanted = list(Module(INSTALL_BASE / "embedded_tools").dependencies())
    for name in wanted:  # grows during the iteration
        if name not in modules:
            modules[name] = packaged.get(name) or make_stub(name)
            wanted += modules[name].dependencies()
    return modules


# --- bazelrc ----------------------------------------------------------------------------------


def write_bazelrc():
    java = next((ROOT / "usr/lib/jvm").glob("java-[0-9]*-openjdk-*/bin/java"))
    registry = DIR / "registry"
    registry.mkdir()
    options = [
        ("startup", f"--install_base={INSTALL_BASE}"),
        ("startup", "--trust_install_base"),
        ("startup", f"--server_javabase={java.resolve().parent.parent}"),
        # An empty registry, so that a missing module is an immediate error and not a network timeout.
        ("common", f"--registry={registry.as_uri()}"),
        ("common", "--lockfile_mode=off"),  # it would contain this machine's paths
        ("common", "--noenable_workspace"),  # its prelude downloads files
        # With --config=workspace: a WORKSPACE file instead of MODULE.bazel.
        ("common:workspace", "--enable_workspace"),
        ("common:workspace", "--noenable_bzlmod"),
    ]
    # An override applies to every version that a workspace requires.
    for name, module in modules_of_every_build().items():
        options.append(("common", f"--override_module={name}={module.folder}"))
        options.append(("common:workspace", f"--override_repository={name}={module.folder}"))
    (DIR / "bazelrc").write_text("".join(f'{to} "{option}"\n' for to, option in options))


write_class_path()
write_bazelrc()
