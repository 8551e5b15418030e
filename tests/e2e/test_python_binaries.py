"""Binaries by `py_binary`: what they can import, how they can be started, and what they start."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bazel import TIMEOUT, Workspace
from conftest import WORKSPACES
from layers import sha256
from machine import base_layer, in_root
from remote import ALL_REMOTE, server

DEPENDENCIES = ["lib", "hidden", "legacy one", "legacy two", "moved", "plain", "single", "two", "one", 42, True]


@pytest.fixture(scope="module")
def python(make_workspace) -> Workspace:
    """The workspace with binaries, built."""
    workspace = make_workspace(WORKSPACES / "python", "python")
    workspace.build("//app/...")
    return workspace


@pytest.fixture(scope="module")
def bin(python) -> Path:
    """The folder with the executables."""
    return python.folder / "bazel-bin" / "app"


def report(command: list[str | Path], **options) -> dict:
    """Runs a command that prints JSON."""
    process = subprocess.run(command, capture_output=True, timeout=TIMEOUT, **options)
    assert process.returncode == 0, process.stderr.decode(errors="replace")
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def facts(bin, scratch) -> dict:
    """What the probe finds out, also in processes that it starts."""
    folder = scratch / "probe"
    folder.mkdir()
    return report([bin / "probe", "--processes"], env={**os.environ, "TEST_TMPDIR": str(folder)})


def test_everything_that_a_binary_depends_on_can_be_imported(facts) -> None:
    assert facts["dependencies"] == DEPENDENCIES


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_import_the_same(facts, method) -> None:
    assert facts[method] == DEPENDENCIES


def test_processes_of_the_interpreter_import_the_same(facts) -> None:
    assert facts["interpreter"] == ["plain", "one", "moved"]


def test_an_environment_can_be_made_inside_the_binary(facts, scratch) -> None:
    assert facts["nested"] == [str(scratch / "probe" / "nested"), facts["base_prefix"]]


def test_metadata_and_resources_are_found(facts) -> None:
    assert facts["files"] == ["plain-1.0.dist-info/METADATA", "plain/__init__.py", "plain/data.txt"]
    assert facts["versions"] == {"plain": "1.0", "space-one": "1.0", "space-two": "1.0"}
    assert facts["resource"] == "a resource\n"


def test_only_what_was_declared_is_on_the_path(facts, bin) -> None:
    runfiles = f"{bin}/probe.runfiles"
    site_packages = f"{runfiles}/_main/app/_probe.venv/lib/python{facts['version']}/site-packages"
    own = [path for path in facts["path"] if path.startswith(runfiles)]
    assert own == [
        site_packages,
        f"{runfiles}/_main",
        f"{runfiles}/_main/app/src",
        runfiles,
        f"{site_packages}/by_pth",
    ]
    library = f"{facts['base_prefix']}/lib/python3"
    assert [path for path in facts["path"] if path not in own and not path.startswith(library)] == []
    assert facts["flags"] == {"isolated": 1, "utf8": 1}


def test_options_and_variables_do_not_come_from_the_surroundings(bin, folder) -> None:
    (folder / "plain.py").write_text("raise SystemExit('the current directory is on the path')")
    (folder / "sitecustomize.py").write_text("raise SystemExit('PYTHONPATH has an effect')")
    environment = {
        **os.environ,
        "HOME": str(folder),
        "PYTHONHOME": str(folder),
        "PYTHONPATH": str(folder),
        "PYTHONSTARTUP": str(folder / "plain.py"),
        "PYTHONUSERBASE": str(folder),
    }
    assert report([bin / "probe"], cwd=folder, env=environment)["dependencies"] == DEPENDENCIES


def test_a_binary_that_is_not_isolated_takes_modules_from_pythonpath(bin, folder) -> None:
    (folder / "sitecustomize.py").write_text("import sys; sys.injected = 'injected'")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    lines = subprocess.check_output([bin / "injected"], env=environment, text=True, cwd=folder).splitlines()
    assert lines[:2] == ["injected", str(folder)]
    # Neither the current directory nor that of the main file.
    assert "" not in lines and f"{bin}/injected.runfiles/_main/app" not in lines


def test_run_sets_variables_and_arguments(python, bin) -> None:
    result = python.run("run", "--color=no", "--curses=no", "//app:probe", "--", "more", environment={"INHERITED": "yes"})
    facts = json.loads(result.output)
    assert [bytes.fromhex(argument) for argument in facts["arguments"]] == [b"from", b"args", b"more"]
    assert facts["environment"]["PLACE"] == "environment"
    assert facts["environment"]["INHERITED"] == "yes"
    assert facts["data"] == "some data\n"
    # Only `run` and `test` do.
    assert report([bin / "probe"])["environment"]["PLACE"] is None


def test_a_console_script_runs_in_the_environment(bin) -> None:
    script = bin / "probe.runfiles" / "_main" / "app" / "_probe.venv" / "bin" / "plain-script"
    process = subprocess.run([script, "argument"], capture_output=True, text=True, timeout=TIMEOUT)
    assert process.stdout == f"plain ['argument'] {script.parents[1]}\n", process.stderr
    assert process.returncode == 3


@pytest.mark.parametrize("policy", ["error", "warning", "ignore"])
def test_files_of_two_distributions_that_differ_collide(policy, python, bin) -> None:
    result = python.build(f"//app:clash_{policy}", check=False)
    assert (result.status == 0) == (policy != "error")
    message = "distributions contain different files at the same path in site-packages:\n    plain/__init__.py: "
    assert (message in result.log) == (policy != "ignore")
    if policy != "error":
        output = subprocess.check_output([bin / f"clash_{policy}"], text=True, timeout=TIMEOUT)
        assert output == "plain\n"


def test_two_versions_of_a_distribution_collide_and_the_first_is_installed(python, bin) -> None:
    result = python.build("//app:versions_error", check=False)
    assert result.status != 0
    assert "plain-1.0.dist-info/METADATA: " in result.log and "/plain-2.0.dist-info/METADATA" in result.log
    python.build("//app:versions_ignore")
    assert subprocess.check_output([bin / "versions_ignore"], text=True, timeout=TIMEOUT) == "1.0\n"


def test_equal_files_of_two_distributions_do_not_collide(python) -> None:
    # Both halves of `legacy` have the same __init__.py.
    assert (python.folder / "bazel-bin" / "app" / "probe.collisions").read_text() == ""


def test_an_environment_for_an_ide_imports_the_same(python, folder) -> None:
    assert "Made {0}/.app+probe.venv\n".format(python.folder) in python.run("run", "//app:probe.venv").output
    python.run("run", "//app:probe.venv", "--", folder / "venv")
    code = "import app.lib, moved, plain, space.one, space.deep.two, user; print(app.lib.__file__, user.answer)"
    output = subprocess.check_output([folder / "venv" / "bin" / "python", "-c", code], text=True, cwd=folder)
    assert output == f"{python.folder}/app/lib/__init__.py 42\n"


# --- starts --------------------------------------------------------------------------------------


def relative_path(bin: Path, folder: Path) -> dict:
    return report(["./probe"], cwd=bin)


def root_as_directory(bin: Path, folder: Path) -> dict:
    return report([bin / "probe"], cwd="/")


def chain_of_links(bin: Path, folder: Path) -> dict:
    (folder / "second").symlink_to(bin / "probe")
    (folder / "first").symlink_to("second")
    return report([folder / "first"])


def search_path(bin: Path, folder: Path) -> dict:
    return report(["probe"], env={**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"})


def other_name(bin: Path, folder: Path) -> dict:
    return report(["bash", "-c", 'exec -a nothing "$0"', bin / "probe"])


def runfiles_of_another(bin: Path, folder: Path) -> dict:
    return report([bin / "probe"], env={**os.environ, "RUNFILES_DIR": str(bin / "signals.runfiles")})


def copy_at(bin: Path, place: Path) -> dict:
    """Copies the binary as a container image would."""
    place.mkdir(parents=True)
    subprocess.run(["cp", "-a", "--", bin / "probe", bin / "probe.runfiles", place], check=True)
    return report([place / "probe"])


def blanks(bin: Path, folder: Path) -> dict:
    return copy_at(bin, folder / "with some blanks ")


def long_path(bin: Path, folder: Path) -> dict:
    return copy_at(bin, folder / ("x" * 200) / ("y" * 200))


def not_utf8(bin: Path, folder: Path) -> dict:
    return copy_at(bin, Path(os.fsdecode(os.fsencode(folder) + b"/\xe9")))


STARTS = [
    relative_path,
    root_as_directory,
    chain_of_links,
    search_path,
    other_name,
    runfiles_of_another,
    blanks,
    long_path,
    not_utf8,
]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__)
def test_a_binary_starts(start, bin, folder) -> None:
    assert start(bin, folder)["dependencies"] == DEPENDENCIES


def test_arguments_of_any_bytes_and_number_arrive(bin) -> None:
    arguments = [b"\xff\xfe", b"", b"x" * 100_000, *[b"y"] * 10_000]
    facts = report([os.fsencode(bin / "probe"), *arguments])
    assert [bytes.fromhex(argument) for argument in facts["arguments"]] == arguments


def test_a_binary_in_the_data_of_another_finds_its_own_runfiles(bin) -> None:
    assert report([bin / "starter"])["dependencies"] == DEPENDENCIES


def test_the_interpreter_gets_signals_and_its_exit_code_arrives(bin) -> None:
    process = subprocess.Popen([bin / "signals"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 7


def test_nothing_is_written_into_the_runfiles(bin, facts) -> None:
    assert list((bin / "probe.runfiles").rglob("__pycache__")) == []


def test_an_edited_library_rewrites_only_the_layer_that_contains_it(make_workspace) -> None:
    workspace = make_workspace(WORKSPACES / "python", "python_edited")
    workspace.build("//app:layers", "//app:starter")
    with (workspace.folder / "app" / "lib" / "__init__.py").open("a") as file:
        file.write("EDITED = True\n")
    spawns = workspace.spawns("//app:layers", "//app:starter")
    assert sorted(spawn.mnemonic for spawn in spawns) == ["PyImageLayer", "PyImageLayerValidation"]
    assert any(output.endswith("/layers_default.tar.gz") for spawn in spawns for output in spawn.outputs)


@pytest.fixture(scope="module")
def address(scratch: Path) -> Iterator[str]:
    """The address of a remote execution server."""
    with server(scratch / "remote_execution_python") as address:
        yield address


STRATEGIES = {
    "local": ["--strategy=Genrule=local", "--strategy=PyLauncher=local"],
    "sandboxed": ["--strategy=Genrule=sandboxed", "--strategy=PyLauncher=sandboxed"],
    "worker": ["--strategy=PyLauncher=worker"],
    "remote": [*ALL_REMOTE, "--remote_download_all"],
    "remote, minimal": [*ALL_REMOTE, "--remote_download_minimal"],
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_binary_is_a_tool_of_an_action_with_every_strategy(python, address, strategy, request) -> None:
    options = [f"--remote_executor={address}"] if strategy.startswith("remote") else []
    name = request.node.name.translate({ord(char): "_" for char in "[], "})
    # An action that has not run yet.
    folder = python.folder / name
    folder.mkdir()
    (folder / "BUILD.bazel").write_text(
        f'genrule(name = "generated", outs = ["generated.json"], cmd = "$(execpath //app:probe) {name} > $@", tools = ["//app:probe"])\n'
    )
    python.build(f"//{name}:generated", *options, *STRATEGIES[strategy])
    if "minimal" not in strategy:
        facts = json.loads((python.folder / "bazel-bin" / name / "generated.json").read_text())
        assert facts["dependencies"] == DEPENDENCIES
        assert [bytes.fromhex(argument).decode() for argument in facts["arguments"]] == [name]


def test_the_launcher_and_the_layers_have_the_same_bytes_with_every_strategy(python, bin, address) -> None:
    # A layer has the launcher and the environment.
    targets = ["//app:layers", "//app:probe"]
    files = [bin / "probe", *python.files("//app:layers")]
    contents = set()
    for strategy, options in STRATEGIES.items():
        remote = [f"--remote_executor={address}"] if strategy.startswith("remote") else []
        options = [option.replace("=Genrule", "=PyImageLayer") for option in options]
        for file in files:
            file.unlink(missing_ok=True)
        result = python.build(*targets, *remote, *options)
        if "--remote_download_minimal" in options:
            assert result.processes["remote"] >= len(files)
            assert [file for file in files if file.exists()] == []
            # The results of the actions are downloaded, and none runs again.
            result = python.build(*targets, *remote, "--remote_download_toplevel")
            assert set(result.processes) <= {"internal", "remote cache hit"}
        contents.add(tuple(sha256(file.read_bytes()) for file in files))
    assert len(contents) == 1


# --- images --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(python, scratch, as_root_module) -> Path:
    """A folder that contains only the layers and what the interpreter needs of a libc."""
    folder = scratch / "python_root"
    folder.mkdir()
    for file in python.files("//app:layers"):
        subprocess.run(["tar", "-xf", file, "-C", folder], check=True)
    base = base_layer(folder, scratch / "python_base.tar")
    subprocess.run(["tar", "-xf", base, "-C", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def as_root_module() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def test_an_image_starts_with_nothing_but_a_libc(root) -> None:
    assert list((root / "usr" / "bin").iterdir()) == []
    assert sorted(path.name for path in root.iterdir()) == ["bin", "lib", "lib64", "sbin", "srv", "usr"]
    facts = report(in_root(root, ["/srv/app/probe", "argument"]))
    assert facts["dependencies"] == DEPENDENCIES
    assert facts["prefix"] == "/srv/app/probe.runfiles/_main/app/_probe.venv"
    assert facts["base_prefix"].startswith("/srv/app/probe.runfiles/")
    assert all(path.startswith("/srv/app/probe.runfiles/") or path == "/srv/app/probe.runfiles" for path in facts["path"])


def test_the_process_of_an_image_gets_sigterm_as_pid_1(python, bin, folder, as_root) -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", bin / "signals"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    (child,) = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True).split()
    os.kill(int(child), signal.SIGTERM)
    assert process.wait(TIMEOUT) == 7
