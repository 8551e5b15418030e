"""The layers contain runfiles as Python rules create them, complete and unchanged, in the workspace `runfiles`."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from bazel import TIMEOUT, program
from containers import Buildah, umoci_unpack
from layers import Layer
from machine import base_layer
from oci import write_image

# The contents of each layer, by directories below the runfiles: files with the first line of their content,
# and symlinks with their targets. Repository names are plain.
LAYERS = {
    "interpreter": r"""
python_3_11_x86_64-unknown-linux-gnu/
  __init__.py
python_3_11_x86_64-unknown-linux-gnu/bin/
  python = (ELF)
  python3 = (ELF)
  python3.11 = (ELF)
python_3_11_x86_64-unknown-linux-gnu/lib/
  __init__.py
python_3_11_x86_64-unknown-linux-gnu/lib/python3.11/
  __init__.py
  os.py = # os
python_3_11_x86_64-unknown-linux-gnu/lib/python3.11/site-packages/
  __init__.py
python_3_11_x86_64-unknown-linux-gnu/lib/python3.11/site-packages/pip/
  __init__.py = # pip
""",
    "packages": r"""
pip_deps_certifi/
  __init__.py
pip_deps_certifi/site-packages/
  __init__.py
pip_deps_certifi/site-packages/certifi/
  __init__.py = # certifi/__init__.py
  cacert.pem = # certifi/cacert.pem
pip_deps_certifi/site-packages/certifi-1.0.dist-info/
  METADATA = # certifi-1.0.dist-info/METADATA
pip_deps_numpy/
  __init__.py
pip_deps_numpy/site-packages/
  __init__.py
pip_deps_numpy/site-packages/numpy/
  __init__.py = # numpy/__init__.py
pip_deps_numpy/site-packages/numpy/core/
  __init__.py
  _umath.so = # numpy/core/_umath.so
pip_deps_six/
  __init__.py
pip_deps_six/site-packages/
  __init__.py
  six.py = # six.py
""",
    "default": r"""
./
  __init__.py
  _repo_mapping
../
  server = #!/usr/bin/env python3
_main/app/
  @data.txt = at
  __init__.py
  data file.txt = space
  generated.txt = generated
  local_python3 -> /usr/local/python/bin/python3
  main.pyc = compiled
  main.sh = # For the interpreter of this workspace, which is a shell.
  server = #!/usr/bin/env python3
  tool = #!/usr/bin/env python3
  tool.py = print("tool")
  transitioned.txt = transitioned
_main/app/_server.venv/
  __init__.py
  pyvenv.cfg
_main/app/_server.venv/bin/
  python -> python3
  python3 -> ../../../../python_3_11_x86_64-unknown-linux-gnu/bin/python3
_main/app/_server.venv/lib/
  __init__.py
_main/app/_server.venv/lib/python3.11/
  __init__.py
_main/app/_server.venv/lib/python3.11/site-packages/
  __init__.py
  bazel.pth = import _bazel_site_init
  certifi -> ../../../../../../pip_deps_certifi/site-packages/certifi
  certifi-1.0.dist-info -> ../../../../../../pip_deps_certifi/site-packages/certifi-1.0.dist-info
  six.py -> ../../../../../../pip_deps_six/site-packages/six.py
  unpacked -> ../../../../../../_main/app/tree/inner
_main/app/_server.venv/lib/python3.11/site-packages/numpy/
  __init__.py -> ../../../../../../../pip_deps_numpy/site-packages/numpy/__init__.py
_main/app/_server.venv/lib/python3.11/site-packages/numpy/core/
  _umath.so -> ../../../../../../../../pip_deps_numpy/site-packages/numpy/core/_umath.so
_main/app/copies/
  generated.txt = generated
  main.sh = # For the interpreter of this workspace, which is a shell.
_main/app/copies/tree/
  -x.txt = odd
  @x.txt = odd
  a\ttab.txt = odd
  a space.txt = odd
  back\\slash.txt = odd
  café.txt = odd
  nothing.txt
  to_file.txt = inner
_main/app/copies/tree/inner/deep/
  file.txt = inner
_main/app/copies/tree/to_directory/deep/
  file.txt = inner
_main/app/tree/
  -x.txt = odd
  @x.txt = odd
  a\ttab.txt = odd
  a space.txt = odd
  back\\slash.txt = odd
  café.txt = odd
  nothing.txt
  to_file.txt = inner
_main/app/tree/inner/deep/
  file.txt = inner
_main/app/tree/to_directory/deep/
  file.txt = inner
_main/links/
  generated.txt -> ../app/generated.txt
  hidden.txt = only where links put it
  tree -> ../app/tree
_main/links/hidden_tree/
  file.txt = hidden
at_the_root/
  hidden.txt = only where links put it
  main.sh -> ../_main/app/main.sh
other_module/
  __init__.py
other_module/lib/
  __init__.py
  generated.py = # generated
  lib.py = # lib
""",
}

INTERPRETER = "python_3_11_x86_64-unknown-linux-gnu"

# The service's output. Each line comes from a file that is reached through a link of the virtual environment.
PRINTED = [
    "# six.py",
    "# certifi/cacert.pem",
    "# numpy/__init__.py",
    "# numpy/core/_umath.so",
    "inner",
    "only where links put it",
]


def plain(text: str) -> str:
    """Removes the prefixes that Bazel adds to repository names, which differ between its versions."""
    return re.sub(r"other_module[~+]", "other_module", re.sub(r"[\w.]*[~+]_repo_rules\d*[~+]", "", text))


def description(content: bytes) -> str:
    """The description of a file with this content in the tables."""
    if content.startswith(b"\x7fELF"):
        return " = (ELF)"
    return f" = {content.decode().splitlines()[0]}" if content else ""


def table(files: dict[str, str]) -> str:
    """Formats descriptions by path as a table."""
    lines, here = [""], None
    for path in sorted(files, key=lambda path: (os.path.dirname(path), path)):
        # Native rules add Bazel's own scripts. These, and so the repository mapping, depend on Bazel's version.
        if path.startswith("bazel_tools/"):
            continue
        directory, name = os.path.split(path)
        if directory != here:
            lines.append(f"{directory or '.'}/")
            here = directory
        escaped = name.replace("\\", "\\\\").replace("\t", "\\t")
        lines.append(f"  {escaped}{files[path] if name != '_repo_mapping' else ''}")
    return "\n".join([*lines, ""])


def below_runfiles(path: str) -> str:
    """The path relative to the runfiles. That of the executable is `../server`."""
    return os.path.relpath(plain(path), "srv/app/server.runfiles")


def files_in(layer: Layer) -> dict[str, str]:
    """Descriptions of a layer's entries by runfiles path, as read by Python."""
    files = {}
    with tarfile.open(layer.path) as tar:
        for member in tar:
            if member.issym():
                files[below_runfiles(member.name)] = f" -> {plain(member.linkname)}"
            elif not member.isdir():
                files[below_runfiles(member.name)] = description(tar.extractfile(member).read())
    return files


def files_below(root: Path) -> dict[str, str]:
    """The same for unpacked layers."""
    files = {}
    for folder, folders, names in os.walk(root / "srv"):
        for path in (Path(folder) / name for name in folders + names):
            place = below_runfiles(str(path.relative_to(root)))
            if path.is_symlink():
                files[place] = f" -> {plain(os.readlink(path))}"
            elif path.is_file():
                files[place] = description(path.read_bytes())
    return files


@pytest.fixture(scope="module")
def layers(runfiles) -> dict[str, Layer]:
    """The layers of the binary with all kinds of runfiles."""
    return runfiles.layers("//app:layers")


@pytest.fixture(scope="module")
def everything(layers) -> dict[str, str]:
    """The contents of all layers together."""
    return {path: what for layer in layers.values() for path, what in files_in(layer).items()}


# --- content ------------------------------------------------------------------------------------


def test_the_layers_in_image_order(layers) -> None:
    assert list(layers) == list(LAYERS)


@pytest.mark.parametrize("group", LAYERS)
def test_a_layer_holds(group, layers) -> None:
    assert table(files_in(layers[group])) == LAYERS[group]


def test_no_path_occurs_twice(layers) -> None:
    paths = [entry.path for layer in layers.values() for entry in layer.entries if entry.type != "directory"]
    assert len(paths) == len(set(paths))


def test_the_layers_contain_bazels_own_runfiles(runfiles, everything) -> None:
    runfiles.build("//app:server")
    tree = runfiles.folder / "bazel-bin/app/server.runfiles"
    found = {}
    for folder, _, names in os.walk(tree, followlinks=True):
        for name in names:
            path = Path(folder) / name
            found[plain(str(path.relative_to(tree)))] = description(path.read_bytes()) if path.exists() else None
    # In this Bazel version, the files of other repositories are also below _main.
    found = {path: what for path, what in found.items() if not path.startswith("_main/external/")}
    del found["MANIFEST"]

    # The links lead to directories, which contain files.
    links = {path for path, what in everything.items() if what.startswith(" -> ")}
    folders = {path for path in links if (tree / actual(tree, path)).is_dir()}
    assert folders, "the venv has links to whole packages"
    found = {path: what for path, what in found.items() if not any(path.startswith(f"{link}/") for link in folders)}
    assert found.keys() == everything.keys() - folders - {"../server"}
    assert {path: what for path, what in found.items() if path not in links} == {
        path: what for path, what in everything.items() if path not in links and path != "../server"
    }


def actual(tree: Path, path: str) -> str:
    """The path with Bazel's name for the repository."""
    first, slash, rest = path.partition("/")
    return next(child.name for child in tree.iterdir() if plain(child.name) == first) + slash + rest


def test_the_repository_mapping_is_that_of_the_binary(runfiles, layers) -> None:
    with tarfile.open(layers["default"].path) as tar:
        found = tar.extractfile("./srv/app/server.runfiles/_repo_mapping").read()
    assert found == (runfiles.folder / "bazel-bin/app/server.repo_mapping").read_bytes()
    assert ",other_module,other_module\n" in plain(found.decode())


def test_the_interpreter_is_stored_once(layers) -> None:
    programs = {
        entry.path.rpartition("/")[2]: entry.type for entry in layers["interpreter"].entries if "/bin/py" in entry.path
    }
    assert programs == {"python": "file", "python3": "hard link", "python3.11": "hard link"}


def test_a_binary_at_the_root_of_the_workspace(runfiles) -> None:
    (layer,) = runfiles.layers("//:layers").values()
    assert [plain(path) for path in layer.paths] == [
        "srv/at_root",
        "srv/at_root.runfiles/_main/at_root",
        "srv/at_root.runfiles/_main/at_root.txt",
        "srv/at_root.runfiles/_repo_mapping",
    ]


def test_a_binary_of_another_module(runfiles) -> None:
    (layer,) = runfiles.layers("//app:of_other_module").values()
    assert [plain(path) for path in layer.paths] == [
        "srv/tool/tool",
        "srv/tool/tool.runfiles/_repo_mapping",
        "srv/tool/tool.runfiles/other_module/lib/lib.py",
        "srv/tool/tool.runfiles/other_module/tool/tool",
    ]


def test_attributes_change_metadata_but_no_content(runfiles, everything) -> None:
    layers = runfiles.layers("//app:attributes").values()
    assert {path: what for layer in layers for path, what in files_in(layer).items()} == everything
    entries = [entry for layer in layers for entry in layer.entries]
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(1000, 2000, 1234567890)}
    # dedupe = False
    assert {entry.type for entry in entries} == {"directory", "file", "symlink"}
    # mode = "detect"
    programs = {below_runfiles(entry.path) for entry in entries if entry.type == "file" and entry.mode == 0o755}
    assert programs == {path for path, what in everything.items() if what.startswith((" = #!", " = (ELF)"))}
    assert {entry.mode for entry in entries if entry.type == "file"} == {0o755, 0o644}


# --- same bytes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(runfiles, layers) -> dict[str, bytes]:
    """The layer files that the default strategy has written."""
    runfiles.build("//app:layers")
    return {file.name: file.read_bytes() for file in runfiles.files("//app:layers")}


@pytest.mark.parametrize(
    "runner, arguments",
    [
        pytest.param("worker", [], id="multiplex worker"),
        pytest.param("worker", ["--noworker_multiplex"], id="singleplex worker"),
        pytest.param("worker", ["--noworker_multiplex", "--worker_sandboxing"], id="sandboxed worker"),
        pytest.param(
            "worker",
            ["--worker_sandboxing", "--experimental_worker_multiplex_sandboxing"],
            id="sandboxed multiplex worker",
        ),
        pytest.param("linux-sandbox", ["--strategy=PyImageLayer=linux-sandbox"], id="linux-sandbox"),
        pytest.param("local", ["--strategy=PyImageLayer=local"], id="local"),
    ],
)
def test_same_bytes_with_any_strategy(runner, arguments, runfiles, reference) -> None:
    files = runfiles.files("//app:layers")
    for file in files:
        file.unlink(missing_ok=True)
    spawns = runfiles.spawns(*arguments, "//app:layers")
    assert [spawn.runner for spawn in spawns if spawn.mnemonic == "PyImageLayer"] == [runner] * len(reference)
    assert {file.name: file.read_bytes() for file in files} == reference


# --- links created by programs ------------------------------------------------------------------

MADE_LINKS = {
    "absolute": ("symlink", "/usr/bin/env"),
    "declared": ("symlink", "target.txt"),
    "file": ("file", ""),
    "in_the_runfiles": ("symlink", "../main.sh"),
    "target.txt": ("file", ""),
}

STRATEGIES = {
    "multiplex worker": [],
    "sandboxed worker": ["--noworker_multiplex", "--worker_sandboxing"],
    "sandboxed multiplex worker": ["--worker_sandboxing", "--experimental_worker_multiplex_sandboxing"],
    "linux-sandbox": ["--strategy=PyImageLayer=linux-sandbox"],
}


def written(runfiles, name: str, *arguments: str) -> dict[str, tuple[str, str]]:
    """Rewrites a binary's layer, and returns the types and targets of its links."""
    (file,) = runfiles.files(f"//app:{name}_layers")
    file.unlink()
    runfiles.build(*arguments, f"//app:{name}_layers")
    below = f"srv/app/{name}.runfiles/_main/app/links_of_{name}/"
    return {
        entry.path.removeprefix(below): (entry.type, entry.target)
        for entry in Layer(file).entries
        if entry.path.startswith(below) and entry.type != "directory"
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_declared_link_that_a_program_makes_is_a_link(strategy, runfiles) -> None:
    assert written(runfiles, "made_links", *STRATEGIES[strategy]) == MADE_LINKS


def test_without_a_sandbox_or_worker_a_declared_link_is_kept_where_it_cannot_be_a_file(runfiles) -> None:
    links = written(runfiles, "made_link", "--strategy=PyImageLayer=local")
    assert links["in_the_runfiles"] == MADE_LINKS["in_the_runfiles"]


def test_without_a_sandbox_or_worker_a_link_that_may_be_a_file_is_refused(runfiles) -> None:
    (file,) = runfiles.files("//app:made_links_layers")
    file.unlink(missing_ok=True)
    log = runfiles.build("--strategy=PyImageLayer=local", "//app:made_links_layers", check=False).log
    assert "is a symlink, and it is not known whether it was declared as a symlink or represents the file it" in log
    runfiles.build("//app:made_links_layers")


@pytest.mark.parametrize("group", LAYERS)
def test_same_bytes_where_every_input_is_a_plain_copy(group, runfiles, layers, reference, folder) -> None:
    """As in remote execution: only declared links, other modes, no empty folders, no digests."""
    layer = layers[group].path
    layer.unlink(missing_ok=True)
    runfiles.build("--strategy=PyImageLayer=local", "--materialize_param_files", "//app:layers")

    execution_root = Path(runfiles.run("info", "execution_root").output.strip())
    manifest = layer.with_name(f"layers_{group}.manifest")
    (flagfile,) = layer.parent.glob(f"{layer.name}-*.params")
    for file in manifest, flagfile, *(layer.with_name(f"layers.{kind}.json") for kind in ("settings", "groups")):
        copy(file, folder / in_execution_root(runfiles, file))
    for line in manifest.read_text().splitlines():
        kind, *fields = [re.sub(r"\\(.)", unescape, field) for field in line.split("\t")]
        if kind not in "es":
            {"f": copy, "g": copy, "t": copy_tree, "l": copy_link}[kind](execution_root / fields[1], folder / fields[1])

    subprocess.run([program(), f"@{in_execution_root(runfiles, flagfile)}"], cwd=folder, check=True, env={}, timeout=TIMEOUT)
    (written,) = folder.rglob(layer.name)
    assert written.read_bytes() == reference[layer.name]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="tree"),
        pytest.param(["--nolegacy_external_runfiles"], id="tree without copies of other repositories"),
        pytest.param(["--noenable_runfiles"], id="manifest"),
    ],
)
def test_same_bytes_by_pack(options, runfiles, reference, folder) -> None:
    runfiles.build(*options, "//app:server")
    tree = runfiles.folder / "bazel-bin/app/server.runfiles"
    names = {path.name for path in tree.iterdir()}
    assert (names == {"MANIFEST"}) == ("--noenable_runfiles" in options)
    command = [program(), "pack", "--binary", tree.with_suffix(""), "--root=/srv", "--out", folder]
    subprocess.run(command, check=True, env={}, timeout=60, stdout=subprocess.DEVNULL)
    assert {f"layers_{file.name}": file.read_bytes() for file in folder.iterdir()} == reference


def in_execution_root(workspace, file: Path) -> Path:
    """The exec path of an output."""
    output_path = (workspace.folder / "bazel-out").resolve()
    return Path("bazel-out") / file.resolve().relative_to(output_path)


def unescape(match: re.Match) -> str:
    return {"t": "\t", "n": "\n"}.get(match[1], match[1])


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def copy_tree(source: Path, target: Path) -> None:
    for folder, _, names in os.walk(source, followlinks=True):
        for name in names:
            copy(Path(folder) / name, target / os.path.relpath(folder, source) / name)


def copy_link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(os.readlink(source))


# --- readers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(layers, scratch) -> str:
    """An image with only these layers."""
    return write_image(scratch / "runfiles_image", list(layers.values()))


def by_python(layers, folder) -> Path:
    for layer in layers.values():
        with tarfile.open(layer.path) as tar:
            tar.extractall(folder, filter="fully_trusted")
    return folder


def by_gnu_tar(layers, folder) -> Path:
    for layer in layers.values():
        subprocess.run(["tar", "-xf", layer.path, "-C", folder], check=True)
    return folder


def by_bsdtar(layers, folder) -> Path:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    for layer in layers.values():
        subprocess.run(["bsdtar", "-xf", layer.path, "-C", folder], check=True, env=environment)
    return folder


@pytest.mark.parametrize("unpack", [by_python, by_gnu_tar, by_bsdtar])
def test_tar_readers_unpack_what_is_listed(unpack, layers, everything, folder) -> None:
    assert table(files_below(unpack(layers, folder))) == table(everything)


@pytest.mark.usefixtures("as_root")
def test_umoci_unpacks_what_is_listed(image, everything, folder) -> None:
    assert table(files_below(umoci_unpack(image, folder / "bundle"))) == table(everything)


@pytest.mark.usefixtures("as_root")
def test_buildah_unpacks_what_is_listed(image, everything, folder) -> None:
    buildah = Buildah(folder / "buildah")
    root = buildah.run("mount", buildah.container(image)).strip()
    assert table(files_below(Path(root))) == table(everything)


# --- running the binary -------------------------------------------------------------------------


@pytest.mark.usefixtures("as_root")
def test_the_binary_starts_through_the_links_of_its_virtual_environment(layers, folder) -> None:
    root = by_gnu_tar(layers, folder)
    (python,) = (path.relative_to(root) for path in root.rglob(f"*{INTERPRETER}/bin/python3"))
    base = base_layer(root, folder / "base.tar", f"/{python}")
    subprocess.run(["tar", "-xf", base, "-C", root], check=True)
    command = ["chroot", root, "/usr/bin/env", "-i", "PATH=/usr/bin", "/srv/app/server"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.stdout.splitlines() == PRINTED, process.stderr
