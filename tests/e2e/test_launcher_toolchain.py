"""The launcher of Python binaries as a toolchain: where it comes from, and for which platforms."""

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from bazel import launcher, program
from conftest import WORKSPACES, BuiltWorkspace

HOST = platform.machine()
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[HOST]

# e_machine of ELF: System V ABI, EM_X86_64 and EM_AARCH64
MACHINES = {"x86_64": 62, "aarch64": 183}

NO_LAUNCHER = "there is no launcher for the platform"

EXTENSION = 'pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")\n'

# A rustc that fails for a target, in another way if `library` exists.
STUB = """\
#!/bin/sh
case "$*" in
  *target-libdir*--target\\ {target}*)
    echo {library}
    ;;
  *--target\\ {target}*)
    if [ -e {library} ]; then
      echo 'error: the library is empty'
    else
      printf '%s\\n' 'error: there is no library' 'help: install it'
    fi >&2
    exit 1
    ;;
  *)
    exec {rustc} "$@"
    ;;
esac
"""

# Attributes of the tag `prebuilt` → the message.
PREBUILT_MISTAKES = {
    "no_sha256": (
        'platform = "linux-x86_64", launcher_url = "file:///launcher"',
        "the prebuilt launcher for linux-x86_64 has no sha256",
    ),
    "no_url": (
        'platform = "linux-x86_64", launcher_sha256 = "00"',
        "the prebuilt launcher for linux-x86_64 has a sha256 but no URL",
    ),
    "macos": (
        'platform = "macos-aarch64", launcher_url = "file:///launcher", launcher_sha256 = "00"',
        "the launcher runs on linux-aarch64, linux-x86_64; there is none for macos-aarch64",
    ),
}


@pytest.fixture(scope="module")
def workspace(make_workspace) -> BuiltWorkspace:
    return make_workspace(WORKSPACES / "launcher", "launcher")


def use(workspace: BuiltWorkspace, tags: str) -> None:
    """Replaces the tags of the module extension."""
    module = workspace.folder / "MODULE.bazel"
    module.write_text(module.read_text().partition(EXTENSION)[0] + EXTENSION + tags)


def build(workspace: BuiltWorkspace, cpu: str = HOST) -> bytes:
    """Builds the launcher for a platform, and returns its content."""
    option = f"--platforms=//:{cpu}"
    workspace.build(option, "//:launcher")
    (file,) = workspace.files("//:launcher", option)
    return file.read_bytes()


def failure(workspace: BuiltWorkspace, *options: str) -> str:
    """The messages of a build that fails."""
    result = workspace.build(*options, "//:launcher", check=False)
    assert result.status != 0
    return result.log


def machine(elf: bytes) -> int:
    assert elf[:4] == b"\x7fELF"
    return int.from_bytes(elf[18:20], "little")


def template_for(cpu: str, folder: Path) -> Path:
    """A launcher that says that it is for a processor, and differs from the one that is built."""
    elf = bytearray(launcher().read_bytes())
    elf[18:20] = MACHINES[cpu].to_bytes(2, "little")
    file = folder / f"launcher_{cpu}"
    file.write_bytes(elf + f"a template for {cpu}".encode())
    return file


def prebuilt(cpu: str, template: Path | None) -> str:
    """A tag with the program under test, and a launcher."""

    def download(prefix: str, file: Path) -> str:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        return f'    {prefix}url = "{file.as_uri()}",\n    {prefix}sha256 = "{sha256}",\n'

    launcher_download = download("launcher_", template) if template else ""
    return f'pylayer.prebuilt(\n    platform = "linux-{cpu}",\n{download("", program())}{launcher_download})\n'


def test_it_is_built_from_source_if_only_the_program_is_installed(workspace, folder) -> None:
    use(workspace, f'pylayer.path(path = "{program()}")\n')
    built = build(workspace)
    assert machine(built) == MACHINES[HOST]
    configured = folder / "app"
    configured.write_bytes(built)
    configured.chmod(0o755)
    process = subprocess.run([configured], capture_output=True, text=True, env={})
    assert process.returncode == 127
    assert "_main/venv/pyvenv.cfg" in process.stderr


def test_it_is_built_for_the_other_processor(workspace) -> None:
    query = ["rustc", "--print", "target-libdir", "--target", f"{OTHER}-unknown-linux-gnu"]
    if not Path(subprocess.check_output(query, text=True).strip()).exists():
        pytest.skip(f"rustc has no core library for {OTHER}")
    use(workspace, f'pylayer.path(path = "{program()}")\n')
    assert machine(build(workspace, OTHER)) == MACHINES[OTHER]


def test_a_platform_for_which_rustc_fails_has_no_launcher(workspace, folder) -> None:
    use(workspace, f'pylayer.path(path = "{program()}")\n')
    rustc = folder / "rustc"
    library = folder / "library"
    target = f"{OTHER}-unknown-linux-gnu"
    rustc.write_text(STUB.format(target=target, library=library, rustc=shutil.which("rustc")))
    rustc.chmod(0o755)
    path = f"--repo_env=PATH={folder}:{os.environ['PATH']}"
    output_base = Path(workspace.run("info", "output_base").output.strip())

    def reason() -> str:
        assert NO_LAUNCHER in failure(workspace, path, f"--platforms=//:{OTHER}")
        (generated,) = output_base.glob("external/*pylayer_toolchains/BUILD.bazel")
        return generated.read_text().partition(f"# There is no launcher for linux-{OTHER}:\n")[2]

    assert reason() == "#   error: there is no library\n#   help: install it\n"
    workspace.build(path, f"--platforms=//:{HOST}", "//:launcher")
    library.mkdir()
    assert reason() == "#   error: the library is empty\n"


def test_without_rustc_the_program_can_be_used_but_there_is_no_launcher(workspace, folder) -> None:
    use(workspace, f'pylayer.path(path = "{program()}")\n')
    assert NO_LAUNCHER in failure(workspace, f"--repo_env=PATH={folder}")


def test_an_installed_launcher_is_used_for_the_processor_of_the_host(workspace, folder) -> None:
    template = template_for(HOST, folder)
    use(workspace, f'pylayer.path(path = "{program()}", launcher = "{template}")\n')
    assert build(workspace).endswith(f"a template for {HOST}".encode())
    assert NO_LAUNCHER in failure(workspace, f"--platforms=//:{OTHER}")


def test_a_downloaded_launcher_is_used_for_its_platform(workspace, folder) -> None:
    use(workspace, "".join(prebuilt(cpu, template_for(cpu, folder)) for cpu in MACHINES))
    for cpu in MACHINES:
        built = build(workspace, cpu)
        assert machine(built) == MACHINES[cpu]
        assert built.endswith(f"a template for {cpu}".encode())


def test_a_downloaded_program_needs_no_launcher(workspace) -> None:
    use(workspace, prebuilt(HOST, None))
    assert NO_LAUNCHER in failure(workspace)


def test_an_installed_launcher_that_does_not_exist(workspace, folder) -> None:
    use(workspace, f'pylayer.path(path = "{program()}", launcher = "{folder}/launcher")\n')
    assert f'pylayer.path(launcher = "{folder}/launcher"): there is no such file' in failure(workspace)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("bin/pylayer", "must be an absolute path"),
        ("/bin/false", "this is not the program, or it does not run on this machine"),
    ],
)
def test_a_path_that_is_no_program(workspace, path: str, message: str) -> None:
    use(workspace, f'pylayer.path(path = "{path}")\n')
    assert f'pylayer.path(path = "{path}"): {message}' in failure(workspace)


@pytest.mark.parametrize(("attributes", "message"), PREBUILT_MISTAKES.values(), ids=PREBUILT_MISTAKES)
def test_a_mistake_in_a_prebuilt_tag(workspace, attributes: str, message: str) -> None:
    use(workspace, f'pylayer.prebuilt(url = "file:///pylayer", sha256 = "00", {attributes})\n')
    assert message in failure(workspace)


def test_two_prebuilt_tags_for_one_platform(workspace) -> None:
    use(workspace, prebuilt(HOST, None) * 2)
    message = f"pylayer.prebuilt: several tags are for linux-{HOST}; remove all but one"
    assert message in failure(workspace)


def test_only_what_a_build_uses_is_downloaded(workspace, folder) -> None:
    """The other platform's program and launcher are at addresses that do not exist."""
    missing = f'sha256 = "{"0" * 64}", url = "{folder.as_uri()}/missing"'
    other = f'pylayer.prebuilt(platform = "linux-{OTHER}", launcher_{missing.replace(", ", ", launcher_")}, {missing})\n'
    use(workspace, prebuilt(HOST, template_for(HOST, folder)) + other)
    assert build(workspace).endswith(f"a template for {HOST}".encode())
    assert f"{folder}/missing" in failure(workspace, f"--platforms=//:{OTHER}")
