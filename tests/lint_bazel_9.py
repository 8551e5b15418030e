#!/usr/bin/env python3
"""Checks Starlark files against what Bazel 9 offers. buildifier knows the rules that it lacks, but not the providers,
`native`, and deprecated fields and parameters.

    lint_bazel_9.py FILE...

Starlark is parsed as Python, of which it is nearly a subset. Starlark in strings, such as BUILD files that repository
rules write, is not checked.
"""

import ast
import sys
import warnings
from pathlib import Path

# Files that Bazel 9 does not load, and why. Each of them must have a finding.
FOR_EARLIER_VERSIONS = {
    "bazel/repositories.bzl": "Bazel 9 has no WORKSPACE",
    "tests/e2e/workspaces/no_rules_python/rules_python/python/defs.bzl": "packages of Bazel 7 load it",
    "tests/e2e/workspaces/python_compat/generations/listed/python/private/builtin.bzl": "an early rules_python, for Bazel 7",
    "tests/e2e/workspaces/python_compat/mixed/builtin.bzl": "a native rule of Bazel 7, beside those of rule sets",
    "tests/e2e/workspaces/python_compat/rules_python/python/defs.bzl": "packages of Bazel 7 load it",
    "tests/e2e/workspaces/workspace_file/app/BUILD.bazel": "Bazel 9 has no WORKSPACE",
    "tests/e2e/workspaces/workspace_file/rules_python_of_bazel/python/defs.bzl": "Bazel 9 has no WORKSPACE",
    "tests/e2e/workspaces/workspace_file/six/BUILD.bazel": "Bazel 9 has no WORKSPACE",
}

# https://bazel.build/rules/lib/globals
ALL = """
    False None True abs all any bool depset dict dir enumerate fail float getattr hasattr hash int len list max min print
    range repr reversed select set sorted str tuple type zip
""".split()
RULES = """
    alias config_setting constraint_setting constraint_value filegroup genquery genrule label_flag label_setting platform
    starlark_doc_extract test_suite toolchain toolchain_type
""".split()
PACKAGE = """
    existing_rule existing_rules exports_files glob module_name module_version package_default_visibility package_group
    package_name package_relative_label repo_name subpackages
""".split()
GLOBALS = {
    "BUILD": [*ALL, *RULES, *PACKAGE, "licenses", "load", "package"],
    "MODULE": """
        archive_override bazel_dep flag_alias git_override include inject_repo local_path_override module
        multiple_version_override override_repo register_execution_platforms register_toolchains
        single_version_override use_extension use_repo use_repo_rule False None True dict fail print
    """.split(),
    "BZL": [
        *ALL,
        *"""
            DefaultInfo InstrumentedFilesInfo Label OutputGroupInfo RunEnvironmentInfo analysis_test_transition aspect
            attr config config_common configuration_field coverage_common exec_group exec_transition json load macro
            module_extension native platform_common proto provider repository_rule rule struct subrule tag_class testing
            transition visibility
        """.split(),
    ],
}
NATIVE = [*RULES, *PACKAGE, "bazel_version"]

# Fields that are gone or deprecated, and what takes their place. `ctx.workspace_name` stays.
FIELDS = {
    "build_file_path": "label.package",
    "files_to_build": "files",
    "host_configuration": "an exec configuration",
    "new_file": "actions.declare_file",
    "relative": "Label or same_package_label",
    "resolve_command": "actions.run_shell",
    "resolve_tools": "actions.run",
    "to_json": "json.encode",
    "to_proto": "proto.encode_text",
    "workspace_name": "repo_name",
}


def kind(path: Path) -> str | None:
    """Which globals a file has. Bazel 9 does not read WORKSPACE files."""
    if path.suffix == ".bzl":
        return "BZL"
    return path.stem if path.stem in GLOBALS else None


def bound_names(tree: ast.AST) -> set[str]:
    """The names that a file binds anywhere."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load":
            names |= {argument.value for argument in node.args[1:]} | {keyword.arg for keyword in node.keywords}
    return names


def problem(node: ast.AST, known: set[str]) -> str | None:
    """What is wrong with an expression."""
    if isinstance(node, ast.Name) and node.id not in known:
        return f"{node.id} is not a global name of Bazel 9: load it"
    if isinstance(node, ast.Attribute):
        of = node.value.id if isinstance(node.value, ast.Name) else ""
        if of == "native" and node.attr not in NATIVE:
            return f"native.{node.attr} is not in Bazel 9: load it"
        if node.attr in FIELDS and not (of == "ctx" and node.attr == "workspace_name"):
            return f"{node.attr} is deprecated or gone: use {FIELDS[node.attr]}"
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
        for keyword in node.keywords:
            if isinstance(node.func, ast.Name) and node.func.id == "rule" and keyword.arg == "outputs":
                return "rule(outputs) is deprecated: use attr.output"
            if keyword.arg == "cfg" and getattr(keyword.value, "value", None) == "host":
                return 'cfg = "host" is gone: use "exec"'
            if keyword.arg in ("incompatible_use_toolchain_transition", "execution_platform_constraints_allowed"):
                return f"{keyword.arg} is gone: remove it"
    return None


def problems(path: Path) -> list[str]:
    """The findings of a file."""
    known_kind = kind(path)
    if known_kind is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Escapes in strings that Python does not have.
        tree = ast.parse(path.read_bytes(), path)
    known = set(GLOBALS[known_kind]) | bound_names(tree)
    found = [(node.lineno, problem(node, known)) for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return [f"{path}:{line}: {text}" for line, text in sorted({pair for pair in found if pair[1]})]


def main() -> None:
    status = 0
    for name in sys.argv[1:]:
        found = problems(Path(name))
        if name in FOR_EARLIER_VERSIONS:
            found = [] if found else [f"{name}: has no findings: remove it from FOR_EARLIER_VERSIONS in {sys.argv[0]}"]
        if found:
            print("\n".join(found))
            status = 1
    sys.exit(status)


main()
