"""A release, made from a commit of this checkout's files, and installed by workspaces that have nothing else."""

import base64
import functools
import hashlib
import http.server
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bazel import CHECKOUT, TIMEOUT, Result, Workspace, program, run_program
from conftest import WORKSPACES
from layers import Layer

VERSION = "0.2.0-rc1"
HOST = f"linux-{platform.machine()}"
ARCHIVE = f"rules_pylayer-v{VERSION}.tar.gz"
FILES = [
    "SHA256SUMS",
    f"launcher-{VERSION}-linux-aarch64",
    f"launcher-{VERSION}-linux-x86_64",
    f"pylayer-{VERSION}-linux-aarch64",
    f"pylayer-{VERSION}-linux-x86_64",
    f"pylayer-{VERSION}.cdx.json",
    "release_notes.md",
    ARCHIVE,
]
MACS = ["macos-aarch64", "macos-x86_64"]

# The workspace of a new user.
MODULE = f"""\
bazel_dep(name = "rules_pylayer", version = "{VERSION}")
bazel_dep(name = "rules_python", version = "0.22.1")
"""
BUILD = """\
load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")
load("@rules_python//python:py_binary.bzl", "py_binary")

py_binary(name = "app", srcs = ["app.py"])

py_image_layer(name = "layers", py_binary = ":app", root = "/app")
"""
APP = 'print("Hello!")\n'

# Fails, and says that it ran.
NO_RUST = '#!/bin/sh\ntouch "$0.ran"\nexit 1\n'

COMMIT = ["-c", "user.name=Release", "-c", "user.email=release@example.com", "commit", "--quiet", "--message=Release"]


@dataclass
class Project:
    """A repository with this checkout's files in one commit."""

    folder: Path

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", self.folder, *arguments]
        date = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | date).stdout.strip()

    def release(self, *arguments: str | Path, **options) -> Result:
        """Runs `tools/release`, without the tests, which run anyway."""
        command = [self.folder / "tools/release", *map(str, arguments), "--skip-tests"]
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": TIMEOUT} | options
        process = subprocess.run(command, **options)
        return Result(process.returncode, process.stdout, process.stderr)


@pytest.fixture(scope="module")
def project(scratch) -> Project:
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, text=True
    )
    made = Project(scratch / "project")
    for name in listed.split("\0")[:-1]:
        source = CHECKOUT / name
        if source.exists() and not name.startswith("fuzz/corpus/"):
            (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, made.folder / name, follow_symlinks=False)
    made.git("init", "--quiet")
    made.git("add", "--all")
    made.git(*COMMIT)
    return made


@pytest.fixture(scope="module")
def released(project, scratch) -> Path:
    """The folder with a release."""
    out = scratch / "released"
    result = project.release(VERSION, "--out", out, "--target-dir", CHECKOUT / "target/programs")
    assert result.status == 0, result.log
    return out


@pytest.fixture(scope="module")
def with_macs(project, scratch) -> Path:
    """The folder with a release whose programs were built elsewhere: stand-ins, but for the host's."""
    programs = write_programs(scratch / "programs", project)
    out = scratch / "released_with_macs"
    result = project.release(VERSION, "--out", out, "--programs", programs)
    assert result.status == 0, result.log
    return out


# The beginnings of executable files.
MAGIC = {
    "linux-aarch64": b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\xb7\0",
    "linux-x86_64": b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\x3e\0",
    "macos-aarch64": b"\xcf\xfa\xed\xfe\x0c\0\0\x01",
    "macos-x86_64": b"\xcf\xfa\xed\xfe\x07\0\0\x01",
}


def write_programs(folder: Path, project: Project) -> Path:
    """Writes a program for each platform: stand-ins, but for the host's."""
    folder.mkdir()
    for name, magic in (MAGIC | {HOST: program().read_bytes()}).items():
        built_from = f"\n{VERSION} {project.git('rev-parse', 'HEAD')}\n".encode()
        (folder / f"pylayer-{VERSION}-{name}").write_bytes(magic + built_from)
    return folder


# --- the files ------------------------------------------------------------------------------------


def test_a_release_has_these_files(released) -> None:
    assert sorted(file.name for file in released.iterdir()) == FILES
    check = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=released, capture_output=True)
    assert check.returncode == 0, check.stdout


def test_another_run_gives_the_same_bytes(project, released, folder) -> None:
    """All but the program for the other platform, to save time, is built again: from another folder, in another
    environment."""
    (folder / "built").mkdir()
    other = next(name for name in FILES if name.startswith("pylayer-") and "linux" in name and HOST not in name)
    shutil.copyfile(released / other, folder / "built" / other)
    environment = os.environ | {"LC_ALL": "C", "TZ": "Asia/Kolkata", "RUSTFLAGS": "-C debuginfo=2", "CFLAGS": "-g"}
    options = {"env": environment, "umask": 0o077, "cwd": folder}
    build = ["--programs", "built", "--target-dir", CHECKOUT / "target/programs"]
    result = project.release(VERSION, "--out", "again", *build, **options)
    assert result.status == 0, result.log
    for name in FILES:
        assert (folder / "again" / name).read_bytes() == (released / name).read_bytes(), name
    assert stat_modes(folder / "again") == stat_modes(released)


def stat_modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode for file in folder.iterdir()}


def test_the_program_says_its_version_and_commit(project, released) -> None:
    lines = run(released / f"pylayer-{VERSION}-{HOST}", "--version").splitlines()
    assert lines[:2] == [f"pylayer {VERSION}", f"commit: {project.git('rev-parse', 'HEAD')}"]


def test_the_programs_contain_no_path_of_this_machine(released, project) -> None:
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").resolve()
    for file in released.iterdir():
        content = file.read_bytes()
        for path in [cargo, "/registry/src/", project.folder, CHECKOUT, "pylayer-release-"]:
            assert str(path).encode() not in content, f"{file.name}: {path}"


def test_the_archive_has_what_users_need_and_nothing_else(released) -> None:
    with tarfile.open(released / ARCHIVE) as tar:
        members = tar.getmembers()
    top = f"rules_pylayer-{VERSION}/"
    paths = [member.name.removeprefix(top) for member in members]
    assert all(member.name.startswith(top) for member in members) and paths == sorted(paths)
    assert {path.partition("/")[0] for path in paths} == {
        ".bazelignore", ".cargo", "BUILD.bazel", "CHANGELOG.md", "Cargo.lock", "Cargo.toml", "LICENSE", "MODULE.bazel",
        "README.md", "SECURITY.md", "bazel", "crates", "docs", "examples", "proto", "src",
    }  # fmt: skip
    assert not [path for path in paths if re.search(r"(^|/)(tests|benches|fuzz|corpus)/", path)]
    assert {"uid": 0, "gid": 0, "uname": "", "mtime": 1767323045}.items() <= vars(members[0]).items()
    assert sum(member.size for member in members) < 4_000_000


def vars(member: tarfile.TarInfo) -> dict:
    return {name: getattr(member, name) for name in ["uid", "gid", "uname", "mtime"]}


def run(command: Path, *arguments: str) -> str:
    return subprocess.check_output([command, *arguments], text=True, timeout=TIMEOUT)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v0.2.0", '"v0.2.0" is not a version such as 1.2.3 or 1.2.3-rc1'),
        ("0.0.0", '"0.0.0" is not a version'),
        ("0.2.0-01", '"0.2.0-01" is not a version'),
        ("0.2.0-rc..1", '"0.2.0-rc..1" is not a version'),
        ("0.2.0", "CHANGELOG.md says"),
        ("77.0.0", 'CHANGELOG.md has no headings "## [77.0.0] - DATE"'),
    ],
)
def test_a_version_that_cannot_be_released(version: str, message: str, project, folder) -> None:
    changelog = project.folder / "CHANGELOG.md"
    original = changelog.read_text()
    changelog.write_text(re.sub(r"(?m)^(## \[0\.2\.0\] - ).*", r"\1unreleased", original))
    if project.git("status", "--porcelain"):
        project.git(*COMMIT, "--all")
    result = project.release(version, "--out", folder / "out")
    if changelog.read_text() != original:
        project.git("reset", "--quiet", "--hard", "HEAD^")
    assert result.status == 1 and message in result.log
    assert not (folder / "out").exists()


def test_a_checkout_with_changes_is_refused(project, folder) -> None:
    (project.folder / "src/new.rs").touch()
    result = project.release(VERSION, "--out", folder / "out")
    (project.folder / "src/new.rs").unlink()
    assert result.status == 1 and "?? src/new.rs" in result.log
    assert not (folder / "out").exists()


def test_a_folder_that_exists_is_refused(project, folder) -> None:
    result = project.release(VERSION, "--out", folder)
    assert result.status == 1 and f"{folder} exists" in result.log
    assert list(folder.iterdir()) == []


def rename(file: Path) -> None:
    file.rename(file.with_name("pylayer-0.1.9-macos-aarch64"))


def change_processor(file: Path) -> None:
    file.write_bytes(MAGIC["macos-x86_64"] + file.read_bytes()[8:])


def change_commit(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2] + b"!\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename, "pylayer-0.1.9-macos-aarch64, which is no program of this version"),
        (change_processor, "is no program for macos-aarch64"),
        (change_commit, f"was not built as version {VERSION} from commit "),
        (Path.unlink, None),
    ],
    ids=["name", "processor", "commit", "absent"],
)
def test_a_program_of_another_release_is_refused(damage, message, project, folder) -> None:
    programs = write_programs(folder / "programs", project)
    damage(programs / f"pylayer-{VERSION}-macos-aarch64")
    result = project.release(VERSION, "--out", folder / "out", "--programs", programs, "--programs-only")
    if message is None:
        assert result.status == 0 and "without programs for macos-aarch64" in result.log
    else:
        assert result.status == 1 and message in result.log
        assert not (folder / "out").exists()


def test_a_program_that_would_be_built_and_is_there_is_refused(project, folder) -> None:
    programs = write_programs(folder / "programs", project)
    result = project.release(VERSION, "--out", folder / "out", "--programs", programs, f"--platform={HOST}")
    assert result.status == 1 and f"--platform={HOST}: --programs has the program for it" in result.log


def test_configuration_of_cargo_outside_the_tree_is_refused(project, folder) -> None:
    (folder / ".cargo").mkdir()
    configuration = folder / ".cargo/config.toml"
    configuration.write_text("[build]\nrustc-wrapper = '/wrapper'\n")
    result = project.release(VERSION, "--out", folder / "out/release")
    assert result.status == 1 and f"cargo would read {configuration}, which sets build" in result.log
    assert list((folder / "out").iterdir()) == []


def test_attributes_outside_the_commit_are_refused(project, folder) -> None:
    attributes = project.folder / ".git/info/attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("src/licenses.txt export-ignore\n")
    result = project.release(VERSION, "--out", folder / "out")
    attributes.unlink()
    assert result.status == 1 and f"{attributes} would change the files" in result.log
    assert not (folder / "out").exists()


def test_a_run_that_ends_early_leaves_nothing(project, folder) -> None:
    programs = write_programs(folder / "programs", project)
    build = project.folder / "crates/launcher/build"
    original = build.read_text()
    build.write_text("#!/bin/sh\nexit 3\n")
    project.git(*COMMIT, "--all")
    for file in programs.iterdir():
        file.write_bytes(file.read_bytes() + project.git("rev-parse", "HEAD").encode())
    result = project.release(VERSION, "--out", folder / "out/release", "--programs", programs)
    project.git("reset", "--quiet", "--hard", "HEAD^")
    assert build.read_text() == original
    assert result.status == 1 and "failed with status 3" in result.log
    assert list((folder / "out").iterdir()) == []


def test_links_lead_to_files_of_the_archive_or_to_the_repository(released, folder) -> None:
    with tarfile.open(released / ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    pages = [*folder.rglob("*.md"), released / "release_notes.md"]
    for page in pages:
        for target in re.findall(r'\]\(([^)#"\s]+)|<img src="([^"]+)"', re.sub(r"(?s)```.*?```", "", page.read_text())):
            link = "".join(target)
            assert re.match(r"\w+:", link) or (page.parent / link).exists(), f"{page.name}: {link}"


# --- installing it --------------------------------------------------------------------------------


def write_registry(folder: Path, release: Path) -> str:
    """Writes a registry as the release process does. Returns its URL."""
    archive = release / ARCHIVE
    template = (CHECKOUT / ".bcr/source.template.json").read_text()
    owner, repository = metadata()["repository"][0].removeprefix("github:").split("/")
    for name, value in {"OWNER": owner, "REPO": repository, "TAG": f"v{VERSION}", "VERSION": VERSION}.items():
        template = template.replace(f"{{{name}}}", value)
    digest = base64.b64encode(hashlib.sha256(archive.read_bytes()).digest()).decode()
    source = json.loads(template) | {"integrity": f"sha256-{digest}"}

    place = folder / "modules/rules_pylayer" / VERSION
    place.mkdir(parents=True)
    (place / "source.json").write_text(json.dumps(source))
    with tarfile.open(archive) as tar:
        module = tar.extractfile(f"rules_pylayer-{VERSION}/MODULE.bazel").read()
    (place / "MODULE.bazel").write_bytes(module)
    (place.parent / "metadata.json").write_text(json.dumps(metadata() | {"versions": [VERSION]}))
    return folder.as_uri()


def metadata() -> dict:
    return json.loads((CHECKOUT / ".bcr/metadata.template.json").read_text())


@dataclass
class User:
    """A new workspace, with caches of its own, and a cargo and a rustc that fail."""

    folder: Path
    bazel: Workspace

    def build(self, *arguments: str | Path, check: bool = True) -> Result:
        return self.bazel.build(*arguments, check=check)

    @property
    def rust_ran(self) -> bool:
        return any((self.folder / "bin").glob("*.ran"))

    def layers(self) -> dict[str, Layer]:
        return {file.name: Layer(file) for file in self.bazel.files("//:layers")}

    def downloaded(self) -> set[str]:
        """The repositories for files of the release that were fetched: `pylayer_linux-x86_64`."""
        external = Path(self.bazel.run("info", "output_base").output.strip()) / "external"
        found = (re.fullmatch(r".*pylayer_toolchains_(\w+_\w+-\w+)", place.name) for place in external.iterdir())
        return {match[1] for match in found if match}


@contextmanager
def new_user(folder: Path, files: dict[str, str], *options: str) -> Iterator[User]:
    workspace = folder / "workspace"
    workspace.mkdir()
    for name, text in files.items():
        (workspace / name).write_text(text)
    (folder / "bin").mkdir()
    for name in "cargo", "rustc":
        (folder / "bin" / name).write_text(NO_RUST)
        (folder / "bin" / name).chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    bazel = Workspace(
        workspace,
        folder / "bazel",
        environment={"PATH": path},
        options=[f"--repository_cache={folder / 'repository_cache'}", *options],
    )
    try:
        yield User(folder, bazel)
    finally:
        bazel.shutdown()


NEW = {"MODULE.bazel": MODULE, "BUILD.bazel": BUILD, "app.py": APP}


def with_launcher(build: str) -> dict[str, str]:
    """The files of a workspace that also has a target `launcher`, which needs the launcher for its platform."""
    rule = "configured_launcher"
    target = f'\nload(":{rule}.bzl", "{rule}")\n\n{rule}(name = "launcher")\n'
    return {"BUILD.bazel": build + target, f"{rule}.bzl": (WORKSPACES / "launcher" / f"{rule}.bzl").read_text()}


def check_layers(user: User) -> None:
    """Checks that the layer is that of the program under test, that the app starts from it, and that no Rust ran."""
    (layer,) = user.layers().values()
    user.build("//:app")  # its runfiles
    packed = user.folder / "packed"
    run_program("pack", "--binary", user.bazel.folder / "bazel-bin/app", "--root", "/app", "--out", packed)
    assert Layer(packed / "default.tar.gz").digest == layer.digest
    with tarfile.open(layer.path) as tar:
        tar.extractall(user.folder / "image", filter="tar")
    assert run(user.folder / "image/app/app") == "Hello!\n"
    assert not user.rust_ran


def test_the_workspace_of_a_new_user_is_short() -> None:
    assert sum(bool(line) for text in NEW.values() for line in text.splitlines()) <= 10
    assert BUILD in (CHECKOUT / "README.md").read_text()


def test_it_is_installed_from_a_registry_and_a_folder_of_files(released, folder) -> None:
    registry = write_registry(folder / "registry", released)
    with new_user(folder, NEW, f"--registry={registry}", f"--distdir={released}") as user:
        user.build("//:layers")
        check_layers(user)
        assert user.downloaded() == {f"pylayer_{HOST}"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Remembers the paths of requests instead of logging them."""

    def log_message(self, *arguments) -> None:
        self.server.requested.append(self.path)


@contextmanager
def mirror(folder: Path, served_by: type[Quiet] = Quiet) -> Iterator[http.server.ThreadingHTTPServer]:
    """A server of the files in a folder, which remembers what was requested."""
    handler = functools.partial(served_by, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requested = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def test_it_is_installed_through_a_mirror_that_serves_only_what_is_used(released, folder) -> None:
    registry = write_registry(folder / "registry", released)
    with mirror(released) as server:
        configuration = folder / "downloader.cfg"
        address = f"http://127.0.0.1:{server.server_port}"
        owner = metadata()["repository"][0].removeprefix("github:")
        configuration.write_text(
            f"rewrite github.com/{owner}/releases/download/v{re.escape(VERSION)}/(.*) {address}/$1\nblock *\nallow 127.0.0.1\n"
        )
        files = NEW | with_launcher(BUILD)
        with new_user(folder, files, f"--registry={registry}", f"--experimental_downloader_config={configuration}") as user:
            user.build("//:layers", "//:launcher")
            check_layers(user)
    used = [ARCHIVE, f"launcher-{VERSION}-{HOST}", f"pylayer-{VERSION}-{HOST}"]
    assert sorted(path.removeprefix("/") for path in server.requested) == sorted(used)


class WithPassword(Quiet):
    """Serves files to who knows the password."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] == f"Basic {base64.b64encode(b'user:password').decode()}":
            super().do_GET()
        else:
            self.send_error(401)


def test_the_program_comes_from_a_server_with_a_password(with_macs, folder) -> None:
    name = f"pylayer-{VERSION}-{HOST}"
    digest = hashlib.sha256((with_macs / name).read_bytes()).hexdigest()
    registry = write_registry(folder / "registry", with_macs)
    with mirror(with_macs, WithPassword) as server:
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        module = MODULE + (
            'pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")\n'
            f'pylayer.prebuilt(platform = "{HOST}", sha256 = "{digest}", url = "{url}")\n'
        )
        archive = folder / "archive"
        archive.mkdir()
        shutil.copyfile(with_macs / ARCHIVE, archive / ARCHIVE)
        options = [f"--registry={registry}", f"--distdir={archive}"]
        with new_user(folder, NEW | {"MODULE.bazel": module}, *options) as user:
            refused = user.build("//:layers", check=False)
            assert refused.status != 0
            assert f"could not download {url}: see the warning above. Other ways" in refused.log
            (folder / "netrc").write_text("machine 127.0.0.1 login user password password\n")
            user.build(f"--repo_env=NETRC={folder / 'netrc'}", "//:layers")
            check_layers(user)


def test_it_is_installed_by_a_workspace_file(released, folder) -> None:
    notes = (released / "release_notes.md").read_text()
    (workspace_file,) = re.findall(r"`WORKSPACE`:\n\n```starlark\n(.*?)```", notes, re.DOTALL)
    files = {"WORKSPACE": workspace_file, "BUILD.bazel": BUILD, "app.py": APP}
    with new_user(folder, files, f"--distdir={released}", "--config=workspace") as user:
        user.build("//:layers")
        check_layers(user)


@pytest.mark.parametrize("command", ["fetch", "vendor"])
def test_what_was_fetched_once_is_used_without_a_network(command: str, released, folder) -> None:
    registry = write_registry(folder / "registry", released)
    vendored = [f"--vendor_dir={folder / 'vendored'}"] if command == "vendor" else []
    with new_user(folder, NEW, f"--registry={registry}", *vendored) as user:
        user.bazel.run(command, f"--distdir={released}", "//:layers")
        shutil.rmtree(folder / "repository_cache")
        if vendored:  # nothing else is left
            user.bazel.run("clean", "--expunge")
        user.build("//:layers")
        check_layers(user)


def test_a_release_is_built_from_source_on_request(released, folder) -> None:
    module = MODULE + (
        'pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")\npylayer.source()\n'
    )
    registry = write_registry(folder / "registry", released)
    with new_user(folder, NEW | {"MODULE.bazel": module}, f"--registry={registry}", f"--distdir={released}") as user:
        result = user.build("//:layers", check=False)
        assert result.status != 0 and "cargo build of pylayer failed" in result.log
        assert user.rust_ran


# --- other platforms ------------------------------------------------------------------------------

# Selects macOS as the execution platform.
ON_MAC = """
platform(name = "mac", constraint_values = ["@platforms//os:macos", "@platforms//cpu:{cpu}"])
platform(name = "linux", constraint_values = ["@platforms//os:linux", "@platforms//cpu:x86_64"])
"""


@pytest.mark.parametrize("mac", MACS)
def test_a_mac_uses_the_program_for_it(mac: str, with_macs, folder) -> None:
    registry = write_registry(folder / "registry", with_macs)
    module = MODULE + 'bazel_dep(name = "platforms", version = "0.0.10")\n'
    files = NEW | with_launcher(BUILD + ON_MAC.format(cpu=mac.removeprefix("macos-"))) | {"MODULE.bazel": module}
    options = ["--extra_execution_platforms=//:mac", "--platforms=//:linux"]
    with new_user(folder, files, f"--registry={registry}", f"--distdir={with_macs}") as user:
        log = user.build(*options, "//:launcher", check=False).log
        assert user.downloaded() == {f"pylayer_{mac}", "launcher_linux-x86_64"}, log


def test_a_host_without_a_released_program_builds_it_from_source(with_macs, folder) -> None:
    """The release is one without the host's program."""
    with tarfile.open(with_macs / ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    tree = folder / f"rules_pylayer-{VERSION}"
    released = tree / "bazel/private/released.bzl"
    text, found = re.subn(rf'(?m)^    "{HOST}": \[\n        "[^"]*/pylayer-.*\n.*\n    \],\n', "", released.read_text())
    assert found == 1
    released.write_text(text)
    with new_user(folder, NEW, f"--override_module=rules_pylayer={tree}", f"--distdir={with_macs}") as user:
        user.bazel.environment["RUSTFLAGS"] = "-C debuginfo=0"
        # Writes what cargo would.
        (folder / "bin/cargo").write_text(
            # RUSTFLAGS would replace the flags that make the program static.
            f"#!/bin/sh\n[ -z \"${{RUSTFLAGS+set}}\" ] || exit 9\ntouch \"$0.ran\"\nmkdir -p \"$CARGO_TARGET_DIR/host/release\"\n"
            f"cp {program()} \"$CARGO_TARGET_DIR/host/release/pylayer\"\n"
        )
        user.build("//:layers")
        assert user.layers() and user.rust_ran
