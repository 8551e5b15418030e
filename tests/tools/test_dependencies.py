"""tools/dependencies: licence texts and the software bill of materials."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools/dependencies"
LINUX = "x86_64-unknown-linux-gnu"
# As a static program has them: of the linker's comment, and of the C library.
NAMES_VERSIONS = (
    b"\0rustc version 1.95.0 (59807616e 2026-04-14)\0"
    b"GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n\0"
)


def load():
    loader = SourceFileLoader("dependencies", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("dependencies", loader))
    sys.modules["dependencies"] = module
    loader.exec_module(module)
    return module


tool = load()
APACHE = (REPOSITORY / "LICENSE").read_text()
MIT = (
    "MIT License\n\nCopyright (c) 2020 Somebody\n\n"
    "Permission is hereby granted, free of charge, to any person\nobtaining a copy of this software and so on.\n"
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOL, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def crate(tmp_path: Path):
    """A crate with the given licence and files."""

    def make(license: str, files: dict[str, str] = {}, name: str = "thing"):
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(content)
        return tool.Crate(name=name, version="1.2.3", license=license, directory=tmp_path)

    return make


# --- which crates -------------------------------------------------------------------------------


def test_what_a_procedural_macro_depends_on_is_not_in_the_program():
    tree = "0a v1.0.0 (/src)\n1b v2.0.0 (proc-macro)\n2c v3.0.0\n3d v4.0.0\n1e v5.0.0+x\n2d v4.0.0\n"
    assert tool.parse_tree(tree) == {
        ("a", "1.0.0"): {("b", "2.0.0"), ("e", "5.0.0+x")},
        ("b", "2.0.0"): set(),
        ("e", "5.0.0+x"): {("d", "4.0.0")},
        ("d", "4.0.0"): set(),
    }


def test_the_platforms_are_those_of_the_rules():
    rules = (REPOSITORY / "bazel/private/pylayer_repository.bzl").read_text()
    [platforms] = re.findall(r"^PLATFORMS = (\[.*\])$", rules, re.MULTILINE)
    systems = {"apple-darwin": "macos", "unknown-linux-gnu": "linux"}
    targets = [target.split("-", 1) for target in tool.TARGETS]
    assert sorted(f"{systems[system]}-{cpu}" for cpu, system in targets) == sorted(json.loads(platforms))


def test_other_output_of_cargo_is_an_error():
    with pytest.raises(tool.Error, match="not a line of `cargo tree`: thing"):
        tool.parse_tree("0a v1.0.0 (/src)\nthing\n")


# --- licences -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression, chosen",
    [
        ("MIT", ["MIT"]),
        ("MIT OR Apache-2.0", ["Apache-2.0"]),
        ("MIT/Apache-2.0", ["Apache-2.0"]),
        ("Unlicense OR MIT", ["MIT"]),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", ["Apache-2.0"]),
        ("MIT AND BSD-3-Clause", ["MIT", "BSD-3-Clause"]),
    ],
)
def test_one_licence_of_a_choice_is_used(crate, expression, chosen):
    assert tool.chosen_licenses(crate(expression)) == chosen


@pytest.mark.parametrize(
    "expression", ["", "GPL-3.0-only", "(MIT OR Apache-2.0) AND Unicode-3.0", "MIT AND GPL-2.0-only"]
)
def test_a_licence_that_is_not_known_is_an_error_with_the_crate(crate, expression):
    with pytest.raises(tool.Error, match="^crate thing 1.2.3: "):
        tool.crate_texts(crate(expression, {"LICENSE": MIT}))


def test_only_licences_that_are_allowed_are_used():
    deny = tomllib.loads((REPOSITORY / "deny.toml").read_text())
    assert set(tool.PREFERENCE) <= set(deny["licenses"]["allow"])


def test_the_file_of_the_chosen_licence_is_used(crate):
    texts = tool.crate_texts(crate("MIT OR Apache-2.0", {"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}))
    assert [(text.license, text.text, text.subjects) for text in texts] == [("Apache-2.0", APACHE, ["thing 1.2.3"])]


def test_a_crate_without_a_file_has_the_standard_text(crate):
    assert [text.text for text in tool.crate_texts(crate("Apache-2.0"))] == [APACHE]


@pytest.mark.parametrize("files", [{}, {"LICENSE": APACHE}, {"LICENSE": "See elsewhere.\n"}])
def test_a_licence_without_its_text_is_an_error_with_the_crate(crate, files):
    with pytest.raises(tool.Error, match="^crate thing 1.2.3: there is no file with the text of MIT"):
        tool.crate_texts(crate("MIT", files))


def test_notices_and_licences_of_parts_are_included(crate):
    other = MIT.replace("Somebody", "Another")
    files = {
        "LICENSE": MIT,
        "NOTICE": "Thanks.\n",
        "src/part/LICENSE": other,
        "tests/data/LICENSE": "not in the program",
    }
    found = [(text.text, text.subjects) for text in tool.crate_texts(crate("MIT", files))]
    assert found == [(MIT, ["thing 1.2.3"]), ("Thanks.\n", ["thing 1.2.3"]), (other, ["thing 1.2.3 (src/part)"])]


def test_the_licence_of_a_part_that_is_not_known_is_an_error(crate):
    with pytest.raises(tool.Error, match="^crate thing 1.2.3: .* does not know the licence in src/part/LICENSE"):
        tool.crate_texts(crate("MIT", {"LICENSE": MIT, "src/part/LICENSE": "All rights reserved.\n"}))


def test_c_code_that_is_not_known_is_an_error(crate):
    with pytest.raises(tool.Error, match="^crate thing 1.2.3: vendor/thing.c may be part of a C library"):
        tool.crate_texts(crate("MIT", {"LICENSE": MIT, "vendor/thing.c": ""}))


def test_the_licence_of_a_c_library_is_included_with_its_version(crate):
    files = {
        "LICENSE": APACHE,
        "libdeflate/COPYING": MIT,
        "libdeflate/libdeflate.h": '#define LIBDEFLATE_VERSION_STRING\t"7.8"\n',
        "libdeflate/lib/x.c": "",
    }
    texts = tool.crate_texts(crate("Apache-2.0", files, name="libdeflate-sys"))
    assert [(text.license, text.subjects) for text in texts] == [
        ("Apache-2.0", ["libdeflate-sys 1.2.3"]),
        ("MIT", ["libdeflate 7.8"]),
    ]


def test_equal_texts_are_united_whatever_their_line_breaks_are():
    texts = [tool.Text("MIT", MIT, ["b 1"]), tool.Text("MIT", MIT.replace("\n", "\n "), ["a 1"])]
    assert [(text.license, text.subjects) for text in tool.united(texts)] == [("MIT", ["a 1", "b 1"])]


def test_a_copyright_notice_after_the_terms_of_apache_is_kept():
    filled_in = APACHE.replace("Copyright [yyyy] [name of copyright owner]", "Copyright 2014 Somebody")
    assert filled_in != APACHE
    without_appendix = APACHE.partition("END OF TERMS AND CONDITIONS")[0].replace("http:", "https:")
    texts = [tool.Text("Apache-2.0", text, [name]) for name, text in
             [("a 1", APACHE), ("b 1", filled_in), ("c 1", without_appendix)]]  # fmt: skip
    [united] = tool.united(texts)
    assert (united.text, united.subjects) == (APACHE, ["a 1", "b 1, Copyright 2014 Somebody", "c 1"])


def test_changed_terms_of_apache_are_an_error():
    changed = APACHE.replace("perpetual", "revocable")
    with pytest.raises(tool.Error, match="^a 1: its text of Apache-2.0 is not the usual one"):
        tool.united([tool.Text("Apache-2.0", changed, ["a 1"])])


def test_another_lock_file_than_that_of_the_text_is_noticed(tmp_path, monkeypatch, capsys):
    current = (REPOSITORY / "src/licenses.txt").read_text()
    [line] = [line for line in current.splitlines() if line.startswith("zstd-safe ")]
    monkeypatch.setattr(tool, "LICENSES", tmp_path / "licenses.txt")
    tool.LICENSES.write_text(current.replace(line, "zstd-safe 0.0.1 (BSD-3-Clause)"))
    with pytest.raises(tool.Error, match="not current: run `tools/dependencies licenses`"):
        tool.licenses(check=True)
    assert f"-zstd-safe 0.0.1 (BSD-3-Clause)\n+{line}\n" in capsys.readouterr().err
    tool.licenses(check=False)
    assert tool.LICENSES.read_text() == current


# --- SBOM ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("program") / "pylayer"
    file.write_bytes(b"\x7fELF" + NAMES_VERSIONS)
    return file


@pytest.fixture(scope="module")
def text(program) -> str:
    out = program.with_name("sbom.json")
    result = run(*arguments_for(program), "--out", str(out))
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    return out.read_text()


def arguments_for(program: Path) -> list[str]:
    time = "2026-11-30T12:00:00Z"
    return ["sbom", "--target", LINUX, "--program", f"pylayer-linux-x86_64={program}", "--timestamp", time]


@pytest.fixture(scope="module")
def document(text) -> dict:
    return json.loads(text)


def components(document: dict) -> dict[str, dict]:
    found = {}
    for component in document["components"]:
        for each in [component, *component.get("components", [])]:
            assert each["name"] not in found, "in one version"
            found[each["name"]] = each
    return found


def validate(text: str) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert error is None, error


def test_the_document_follows_the_schema_of_cyclonedx(text):
    validate(text)


def test_the_document_describes_the_program(document, program):
    metadata = document["metadata"]
    manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
    component = metadata["component"]
    assert (component["name"], component["version"]) == ("pylayer", manifest["package"]["version"])
    [file] = component["components"]
    assert file["name"] == "pylayer-linux-x86_64"
    assert {"alg": "SHA-256", "content": hashlib.sha256(program.read_bytes()).hexdigest()} in file["hashes"]
    assert metadata["timestamp"] == "2026-11-30T12:00:00Z"


def test_crates_have_their_checksum_of_the_lock_file_and_their_purl(document):
    lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    found = components(document)
    zstd_sys = found["zstd-sys"]
    checksum = checksums["zstd-sys", zstd_sys["version"]]
    assert zstd_sys["hashes"] == [{"alg": "SHA-256", "content": checksum}]
    assert zstd_sys["purl"] == f"pkg:cargo/zstd-sys@{zstd_sys['version'].replace('+', '%2B')}"
    assert found["filetime"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}], "not MIT/Apache-2.0"


def test_libraries_that_are_not_crates_are_listed(document):
    found = components(document)
    assert found["libzstd"]["purl"] == f"pkg:github/facebook/zstd@v{found['libzstd']['version']}"
    assert found["libdeflate"]["licenses"] == [{"expression": "MIT"}]
    assert (found["std"]["version"], found["std"]["purl"]) == ("1.95.0", "pkg:github/rust-lang/rust@1.95.0")
    assert found["glibc"]["purl"] == "pkg:deb/debian/glibc@2.36-9%2Bdeb12u14"


def test_crates_of_tests_and_build_scripts_and_other_platforms_are_not_listed(document):
    assert not {"starlark", "proptest", "cc", "syn", "windows-sys", "wasi", "bstr"} & set(components(document))
    assert {"serde_derive", "launcher", "bazel_worker", "linux-raw-sys"} <= set(components(document))


def test_the_list_is_that_of_the_licences(document):
    listed = (REPOSITORY / "src/licenses.txt").read_text()
    for component in components(document).values():
        if "purl" in component and component["name"] not in ("std", "glibc"):
            assert f"\n{component['name']} {component['version']} (" in listed


def test_everything_is_reached_from_the_program(document):
    edges = {node["ref"]: node.get("dependsOn", []) for node in document["dependencies"]}
    reached, waiting = set(), [document["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += edges[ref]
    assert reached - {document["metadata"]["component"]["bom-ref"]} == {
        component["bom-ref"] for component in components(document).values()
    }


def test_the_same_input_gives_the_same_document(text, program):
    assert run(*arguments_for(program)).stdout == text


def test_without_a_program_all_platforms_are_described(text):
    result = run("sbom")
    assert result.returncode == 0, result.stderr
    validate(result.stdout)
    document = json.loads(result.stdout)
    assert "timestamp" not in document["metadata"]
    assert document["serialNumber"] != json.loads(text)["serialNumber"]
    assert [item["value"] for item in document["metadata"]["properties"]] == tool.TARGETS
    assert "std" in components(document) and "glibc" not in components(document)


def test_the_version_is_that_of_the_manifest(tmp_path):
    for name in ("src", "crates", "benches"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("target"))
    own = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    old, new = f'name = "pylayer"\nversion = "{own}"', 'name = "pylayer"\nversion = "98.7.6"'
    for name in ("Cargo.toml", "Cargo.lock"):
        content = (REPOSITORY / name).read_text()
        assert old in content
        (tmp_path / name).write_text(content.replace(old, new))
    result = run("sbom", "--manifest-path", str(tmp_path / "Cargo.toml"), "--target", LINUX)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["metadata"]["component"]["version"] == "98.7.6"


def test_each_file_has_the_libraries_that_it_names(tmp_path):
    """Programs for other processors can be linked with other versions. The launcher names none."""
    other = NAMES_VERSIONS.replace(b"9+deb12u14", b"8")
    mac = b"/rustc/" + b"0" * 40 + b"/library/core/src/fmt/mod.rs"
    fedora = NAMES_VERSIONS.replace(b"(Debian GLIBC 2.36-9+deb12u14)", b"(GNU libc)")
    arguments = []
    for name, content in {"a": NAMES_VERSIONS, "b": other, "c": mac, "d": b"\x7fELF", "e": fedora}.items():
        (tmp_path / name).write_bytes(content)
        arguments += ["--program", f"{name}={tmp_path / name}"]
    result = run("sbom", *arguments)
    assert result.returncode == 0, result.stderr
    validate(result.stdout)
    document = json.loads(result.stdout)
    edges = {node["ref"]: node.get("dependsOn", []) for node in document["dependencies"]}
    rust = "pkg:github/rust-lang/rust@"
    expected = {
        "file:a": ["pkg:deb/debian/glibc@2.36-9%2Bdeb12u14", f"{rust}1.95.0"],
        "file:b": ["pkg:deb/debian/glibc@2.36-8", f"{rust}1.95.0"],
        "file:c": [rust + "0" * 40],
        "file:d": [],
        "file:e": ["pkg:generic/glibc@2.36", f"{rust}1.95.0"],
    }
    assert {ref: on for ref, on in edges.items() if ref.startswith("file:")} == expected
    listed = {component["bom-ref"] for component in document["components"]}
    assert {ref for refs in expected.values() for ref in refs} <= listed


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["sbom", "--program", "no-file"], 2, "no-file: expected NAME=FILE"),
        (["sbom", "--program", "a=/no/such/file"], 1, "/no/such/file"),
        (["sbom", "--manifest-path", "/no/such/Cargo.toml"], 1, "failed: cargo metadata"),
        (["licenses", "extra"], 2, "unrecognized arguments: extra"),
    ],
)
def test_mistakes_are_reported(arguments, status, message):
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (status, "")
    assert message in result.stderr and "Traceback" not in result.stderr
