"""Images that share layers: one runfiles directory, several binaries, groups that become several layers."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from bazel import TIMEOUT, Workspace, program
from conftest import WORKSPACES, BuiltWorkspace
from layers import Layer
from machine import base_layer, in_root
from test_options import members

NAMES = {
    "certifi",
    "charset-normalizer",
    "idna",
    "numpy",
    "pyyaml",
    "requests",
    "six",
    "typing-extensions",
    "urllib3",
    "zope-interface",
}

SCHEMES = ["workspace", "versions", "index", "aspect", "unknown"]


@pytest.fixture(scope="module")
def shared(make_workspace) -> BuiltWorkspace:
    """The workspace with stand-ins for other rule sets, built."""
    workspace = make_workspace(WORKSPACES / "shared", "shared")
    workspace.build("//many/...", "//hubs/...")
    return workspace


def digests(workspace: BuiltWorkspace, targets: list[str], layer: str) -> set[str]:
    """The digests of a layer of several images."""
    return {workspace.layers(target)[layer].digest for target in targets}


def test_twenty_binaries_share_the_interpreter_and_the_packages(shared) -> None:
    images = [f"//many:native_{number}_layers" for number in range(20)]
    assert len(digests(shared, images, "interpreter")) == 1
    assert len(digests(shared, images, "packages")) == 1
    assert len(digests(shared, images, "default")) == 20


@pytest.mark.parametrize("layout", ["tree", "venv"])
def test_binaries_of_other_rule_sets_share_them_too(layout, shared) -> None:
    images = [f"//many:{layout}_{number}_layers" for number in range(3)]
    assert len(digests(shared, images, "packages")) == 1
    assert len(digests(shared, images, "default")) == 3
    # Even with those of another rule set, and wherever the root is.
    assert digests(shared, images, "interpreter") == digests(shared, ["//many:venv_0_layers"], "interpreter")


def test_what_differs_by_binary_is_in_the_default_layer(shared) -> None:
    default = shared.layers("//many:venv_1_layers")["default"]
    (link,) = [entry for entry in default.entries if entry.path.endswith("venv_1.runfiles")]
    assert (link.path, link.type, link.target) == (
        "app/venv/many/venv_1.runfiles",
        "symlink",
        "../../../opt/shared.runfiles",
    )
    environment = "opt/shared.runfiles/_main/many/_venv_1.venv/lib/python3.11/site-packages/six-1.16.0.dist-info"
    assert {
        "app/venv/many/venv_1",
        "opt/shared.runfiles/_repo_mapping",
        "opt/shared.runfiles/_main/many/main_1.py",
        environment,
    } <= set(default.paths)


def distributions_by_layer(shared: BuiltWorkspace, scheme: str) -> dict[str, set[str]]:
    """The distributions in each layer of an image, by their names."""
    found = {}
    for layer, entries in shared.layers(f"//hubs:{scheme}_layers").items():
        metadata = [path for path in entries.paths if path.endswith(".dist-info/METADATA")]
        names = {re.search(r"site-packages/([^/]*)-[^-]*\.dist-info/", path)[1] for path in metadata}
        found[layer] = {re.sub("[-_.]+", "-", name).lower() for name in names}
    return found


def test_the_split_is_the_same_under_every_naming_scheme(shared) -> None:
    expected = distributions_by_layer(shared, "workspace")
    packages = {layer: names for layer, names in expected.items() if layer.startswith("packages_")}
    assert set().union(*packages.values()) == NAMES and len(packages) == 4
    assert list(expected) == ["interpreter", *sorted(packages), "default"]
    assert sum(map(len, packages.values())) == len(NAMES)
    for scheme in SCHEMES:
        assert distributions_by_layer(shared, scheme) == expected, scheme
    assert distributions_by_layer(shared, "select") == expected


# For `cquery --output=starlark`: what the provider says about each layer.
PROVIDED = """
def format(target):
    info = [value for name, value in providers(target).items() if name.endswith("%PyImageLayersInfo")][0]
    return json.encode({layer.name: layer.distributions for layer in info.layers})
"""


def test_the_provider_names_the_distributions_of_each_layer(shared, folder) -> None:
    file = folder / "provided.cquery"
    file.write_text(PROVIDED)
    for scheme in SCHEMES:
        target = f"//hubs:{scheme}_layers"
        result = shared.run("cquery", "--output=starlark", f"--starlark:file={file}", target)
        expected = {layer: sorted(names) for layer, names in distributions_by_layer(shared, scheme).items()}
        assert json.loads(result.output) == expected, scheme


def test_all_files_of_a_distribution_are_in_one_layer(shared) -> None:
    for scheme in SCHEMES:
        layers = members(shared.layers(f"//hubs:{scheme}_layers"))
        owners = {}
        for layer, paths in layers.items():
            for path in paths:
                if layer.startswith("packages_"):
                    owners.setdefault(path.partition("/")[0], set()).add(layer)
        assert len(owners) == len(NAMES) and all(len(layers) == 1 for layers in owners.values()), scheme


def test_the_label_of_a_group_provides_all_of_its_layers(shared) -> None:
    files = [file.name for file in shared.files("//hubs:workspace_layers_packages")]
    assert files == [f"workspace_layers_packages_{number}.tar.gz" for number in range(1, 5)]
    image = [file.name for file in shared.files("//hubs:groups_layers")]
    web = shared.files("//hubs:groups_layers_web")
    assert 1 < len(web) <= 3
    assert image == [
        "groups_layers_interpreter.tar.gz",
        *[file.name for file in web],
        "groups_layers_packages.tar.gz",
        "groups_layers_default.tar.gz",
    ]
    # Rules require a file, although the image has no such layer.
    assert [file.name for file in shared.files("//hubs:groups_layers_none")] == ["groups_layers_none_1.tar.gz"]


def edited(workspace: Workspace, old: str, new: str) -> None:
    """Replaces the only occurrence of `old` in MODULE.bazel."""
    file = workspace.folder / "MODULE.bazel"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def layers_rewritten(workspace: Workspace, target: str) -> list[str]:
    spawns = [spawn for spawn in workspace.spawns(target) if spawn.mnemonic == "PyImageLayer"]
    return sorted(Path(spawn.outputs[0]).name.partition(".")[0] for spawn in spawns)


@pytest.mark.parametrize("scheme", ["index", "unknown"])
def test_a_change_of_one_distribution_rewrites_one_layer(scheme, make_workspace) -> None:
    workspace = make_workspace(WORKSPACES / "shared", f"shared_{scheme}")
    target = f"//hubs:{scheme}_layers"
    workspace.build(target)
    before = {path.name: path.read_bytes() for path in workspace.files(target)}
    for change, old, new in [
        ("updated", '"six": "1.16.0"', '"six": "1.17.0"'),
        ("removed", '    "six": "1.17.0",\n', ""),
        ("added", '    "numpy"', '    "six": "1.17.0",\n    "numpy"'),
    ]:
        edited(workspace, old, new)
        rewritten = layers_rewritten(workspace, target)
        # Bazel's mapping of repositories has the names of all, so the layer of the application changes with them.
        names_change = change != "updated" or scheme == "unknown"
        assert [layer for layer in rewritten if "_packages_" not in layer] == [f"{scheme}_layers_default"] * names_change
        assert len([layer for layer in rewritten if "_packages_" in layer]) == 1, (change, rewritten)
        after = {path.name: path.read_bytes() for path in workspace.files(target)}
        changed = [name for name in after if before[name] != after[name]]
        assert sorted(name.partition(".")[0] for name in changed) == rewritten
        before = after


def test_files_of_two_binaries_at_one_path_must_be_equal(shared) -> None:
    result = shared.build("//faults:clash", check=False)
    assert result.status != 0
    message = "two different files have the image path .runfiles/at_the_root/clash.txt"
    assert message in result.log and "at_the_root/same.txt" not in result.log


MISTAKES = {
    "environments": "the launchers of //faults:another/server and //faults:one/server (aspect_rules_py 1) make virtual "
    "environments at the same place, /.runfiles/.server.venv, when they start: rename one, or build separate images",
    "places": "would both be /faults/one: rename one, or build separate images",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_binaries_that_cannot_be_in_one_image_are_named(mistake, shared) -> None:
    result = shared.build("--nobuild", f"//faults:{mistake}", check=False)
    assert result.status != 0 and MISTAKES[mistake] in result.log.replace("@@//", "//"), result.log


# --- binaries by the rules of this module ---------------------------------------------------------


@pytest.fixture(scope="module")
def python(make_workspace) -> BuiltWorkspace:
    """The workspace with the rules for Python, and its images with a shared runfiles directory."""
    workspace = make_workspace(WORKSPACES / "python", "python_shared")
    workspace.build("//shared/...")
    return workspace


def test_images_share_the_interpreter_and_the_packages(python) -> None:
    server, worker = (python.layers(f"//shared:only_{name}") for name in ("server", "worker"))
    assert server["interpreter"].digest == worker["interpreter"].digest
    assert server["packages"].digest == worker["packages"].digest
    assert server["default"].digest != worker["default"].digest


@pytest.fixture(scope="module")
def root(python, scratch) -> Path:
    """A folder that contains only the layers of three binaries and what the interpreter needs of a libc."""
    folder = scratch / "shared_root"
    folder.mkdir()
    for file in python.files("//shared:all"):
        subprocess.run(["tar", "-xf", file, "-C", folder], check=True)
    base = base_layer(folder, scratch / "shared_base.tar")
    subprocess.run(["tar", "-xf", base, "-C", folder], check=True)
    return folder


# All have the same first-party code, and each its own packages.
FOUND = {"server": ["app.lib", "plain", "space.one"], "migrate": ["app.lib", "hidden"]}
FOUND["worker"] = FOUND["server"]


@pytest.mark.parametrize("name", FOUND)
def test_every_binary_of_an_image_starts(name, root, as_root) -> None:
    facts = run(root, f"/srv/bin/shared/{name}")
    assert facts["modules"] == FOUND[name]
    assert facts["prefix"] == f"/srv/bin/shared/{name}.runfiles/_main/shared/_{name}.venv"


def test_a_binary_starts_another_one(root, as_root) -> None:
    for start in ["/srv/bin/shared/server", "/srv/bin/shared/migrate"]:
        facts = run(root, start, "_main/shared/worker")
        assert facts["modules"] == FOUND["worker"]


def run(root: Path, *command: str) -> dict:
    process = subprocess.run(in_root(root, command), capture_output=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr.decode(errors="replace")
    return json.loads(process.stdout)


def test_what_binaries_have_in_common_is_stored_once(python) -> None:
    layers = python.layers("//shared:all")
    paths = [path for layer in layers.values() for path in layer.paths]
    assert len(paths) == len(set(paths))
    assert len([path for path in paths if path.endswith("/plain/data.txt")]) == 1
    links = [path for path in layers["default"].paths if path.endswith(".runfiles")]
    assert links == [f"srv/bin/shared/{name}.runfiles" for name in ("migrate", "server", "worker")]


def test_the_repository_mappings_of_all_binaries_become_one(python) -> None:
    merged = (python.folder / "bazel-bin/shared/all.repo_mapping").read_text().splitlines()
    bin = python.folder / "bazel-bin" / "shared"
    own = {name: (bin / f"{name}.repo_mapping").read_text().splitlines() for name in FOUND}
    assert merged == sorted(set().union(*own.values()))
    assert len(merged) > len(own["migrate"])


def test_pack_writes_the_same_layers(python, folder) -> None:
    python.build("//shared:server", "//shared:worker", "//shared:migrate")
    options = ["--root=/srv/bin", "--runfiles-root=/srv/.runfiles", "--split=3", f"--out={folder}/out"]
    binaries = [f"--binary=bazel-bin/shared/{name}" for name in ("server", "worker", "migrate")]
    subprocess.run([program(), "pack", *options, *binaries], cwd=python.folder, check=True, timeout=TIMEOUT)
    expected = {layer: read.digest for layer, read in python.layers("//shared:all").items()}
    packed = {file.name.partition(".")[0]: file for file in (folder / "out").iterdir()}
    assert {layer: Layer(file).digest for layer, file in packed.items()} == expected


# --- the example ----------------------------------------------------------------------------------


def test_two_programs_of_the_example_share_all_layers_but_one(example) -> None:
    example.build("//jobs/...")
    web, daily = (example.layers(f"//jobs:{name}_layers") for name in ("web", "daily"))
    assert list(web) == list(daily) and "packages_1" in web
    assert [layer for layer in web if web[layer].digest != daily[layer].digest] == ["default"]
    # Also with the image that has both.
    both = example.layers("//jobs:layers")
    assert [layer for layer in web if web[layer].digest != both[layer].digest] == ["default"]
