"""The launcher for aarch64. It executes the machine's Python."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bazel import TIMEOUT, program
from programs import emulator, launcher_aarch64

VENV = "_main/app/_server.venv"
MAIN = "_main/app/server.py"
SETTINGS = {"venv": VENV, "main": MAIN, "options": ["-B", "-I"], "env": {"CONFIGURED": "by the launcher", "OWN": "no"}}

REPORT = """\
import json, os, sys
arguments = [os.fsencode(argument).hex() for argument in sys.argv[1:]]
print(json.dumps({"arguments": arguments, "isolated": sys.flags.isolated, "prefix": sys.prefix, **os.environ}))
"""


@pytest.fixture
def app(folder) -> Path:
    """A configured launcher, and its runfiles beside it."""
    shutil.copy(launcher_aarch64(), folder / "template")
    (folder / "settings").write_text(json.dumps(SETTINGS))
    configure = [program(), "--launcher=template", "--settings=settings", "--output=app"]
    subprocess.run(configure, check=True, cwd=folder, timeout=TIMEOUT)
    venv = folder / "app.runfiles" / VENV
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home =\ninclude-system-site-packages = false\n")
    # The kernel executes it without qemu, because it is for this machine.
    (venv / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    (folder / "app.runfiles" / MAIN).write_text(REPORT)
    return folder / "app"


def run(*command: str | bytes | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*emulator(), *command], capture_output=True, timeout=TIMEOUT, **options)


def report(process: subprocess.CompletedProcess) -> dict:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_it_passes_on_arguments_and_variables(app) -> None:
    arguments = [b"\xff\xfe", b"", b"x" * 100_000, *[b"y"] * 10_000]
    environment = {"OWN": "yes", "PYTHONHOME": "/nowhere", "RUNFILES_MANIFEST_FILE": "/nowhere"}
    found = report(run(app, *arguments, env=environment))
    assert [bytes.fromhex(argument) for argument in found["arguments"]] == arguments
    runfiles = f"{app}.runfiles"
    assert (found["prefix"], found["isolated"]) == (f"{runfiles}/{VENV}", 1)
    assert (found["RUNFILES_DIR"], found["VIRTUAL_ENV"]) == (runfiles, f"{runfiles}/{VENV}")
    assert (found["OWN"], found["CONFIGURED"]) == ("yes", "by the launcher")
    assert "PYTHONHOME" not in found and "RUNFILES_MANIFEST_FILE" not in found


def test_it_finds_the_runfiles(app) -> None:
    (app.parent / "second").symlink_to("app")
    (app.parent / "first").symlink_to(app.parent / "second")
    (app.parent / "elsewhere").mkdir()
    copy = shutil.copy(app, app.parent / "elsewhere")
    runfiles = f"{app}.runfiles"
    for process in [
        run("./app", cwd=app.parent, env={}),
        run(app.parent / "first", env={}),
        run(app, env={"RUNFILES_DIR": "/nowhere"}),
        run(copy, env={"RUNFILES_DIR": runfiles}),
        run(copy, env={"RUNFILES_MANIFEST_FILE": f"{runfiles}/MANIFEST"}),
    ]:
        assert report(process)["RUNFILES_DIR"] == runfiles


def test_it_says_what_is_missing(app) -> None:
    interpreter = Path(f"{app}.runfiles") / VENV / "bin" / "python3"
    interpreter.unlink()
    interpreter.touch(mode=0o644)
    process = run(app, env={})
    assert process.returncode == 126 and b"python3: Permission denied" in process.stderr
    interpreter.unlink()
    process = run(app, env={})
    assert process.returncode == 127 and b"python3 does not exist" in process.stderr
    shutil.rmtree(f"{app}.runfiles")
    process = run(app, env={})
    assert process.returncode == 127 and b"cannot find the runfiles" in process.stderr
