"""Archives of the source, from which programs are released."""

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def test_an_archive_contains_its_commit(tmp_path):
    version = "src/version.rs"
    if "$Format:" not in (REPOSITORY / version).read_text():
        pytest.skip("this is an archive itself")
    for name in (".gitattributes", version):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)

    def git(*arguments: str) -> bytes:
        identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=Start")
    commit = git("rev-parse", "HEAD").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
        text = archive.extractfile(version).read().decode()
    assert re.findall(r'const COMMIT: &str = "(.*)";', text) == [commit]
