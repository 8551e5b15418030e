"""The templates of the registry, and who is named where."""

import json
import re
import subprocess

from commands import load
from conftest import CHECKOUT, GITHUB, REGISTRY

METADATA = REGISTRY / "metadata.template.json"
PRESUBMIT = load(REGISTRY / "presubmit.yml")["bcr_test_module"]

# Everything else that is downloaded comes from cargo, pip, npm, apt and Bazel, as they are configured.
HOSTS = {"github.com"}


def tracked(*paths: str) -> list[str]:
    """The files of the checkout, below `paths`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    output = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [name for name in output.split("\0") if name and (CHECKOUT / name).is_file()]


def test_the_metadata_names_the_repository() -> None:
    metadata = json.loads(METADATA.read_text())
    (repository,) = metadata["repository"]
    assert re.fullmatch(r"github:[\w-]+/rules_pylayer", repository)
    assert metadata["homepage"] == repository.replace("github:", "https://github.com/")
    assert metadata["versions"] == [] and metadata["yanked_versions"] == {}


def test_no_other_file_names_the_owner() -> None:
    (repository,) = json.loads(METADATA.read_text())["repository"]
    owner = repository.removeprefix("github:").partition("/")[0]
    found = [name for name in tracked() if f"{owner}/".encode() in (CHECKOUT / name).read_bytes()]
    assert found == [str(METADATA.relative_to(CHECKOUT))]


def test_the_source_is_the_archive_of_the_release() -> None:
    source = json.loads((REGISTRY / "source.template.json").read_text())
    assert source == {
        "integrity": "",
        "strip_prefix": "rules_pylayer-{VERSION}",
        "url": "https://github.com/{OWNER}/{REPO}/releases/download/{TAG}/rules_pylayer-{TAG}.tar.gz",
    }


def test_the_presubmit_builds_a_module_that_uses_this_one() -> None:
    module = CHECKOUT / PRESUBMIT["module_path"]
    text = (module / "MODULE.bazel").read_text()
    assert 'bazel_dep(name = "rules_pylayer"' in text
    for task in PRESUBMIT["tasks"].values():
        flags = " ".join(task.get("build_flags", []) + task.get("test_flags", []))
        for package in re.findall(r"=//([\w/]+):", flags):
            assert (module / package / "BUILD.bazel").exists()


def test_the_presubmit_uses_what_its_matrix_defines() -> None:
    used = set(re.findall(r"\$\{\{ (\w+) \}\}", json.dumps(PRESUBMIT["tasks"])))
    assert used == set(PRESUBMIT["matrix"])


def test_the_presubmit_covers_the_versions_of_bazel_that_ci_covers() -> None:
    jobs = load(GITHUB / "workflows/ci.yml")["jobs"]
    assert PRESUBMIT["matrix"]["bazel"] == jobs["smoke"]["strategy"]["matrix"]["bazel"]


def test_workflows_and_templates_name_no_host_but_github() -> None:
    for name in tracked(".github", ".bcr", "SECURITY.md"):
        hosts = set(re.findall(r"https?://([^/\s\"'>)]+)", (CHECKOUT / name).read_text()))
        assert hosts <= HOSTS, name
