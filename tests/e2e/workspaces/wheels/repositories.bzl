"""Repositories with a wheel and what it contains, as pip unpacks it."""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

filegroup(
    name = "files",
    srcs = glob(["site-packages/**"]),
)

exports_files(glob(["site-packages/**"]))

filegroup(
    name = "whl",
    srcs = glob(["*.whl"]),
)
"""

# Creates a file of the size that is lifted, and a small one, and packs them.
_PROGRAM = """
import sys, zipfile
name = sys.argv[1]
content = b"".join(b"%s %d\\n" % (name.encode(), number * number) for number in range(9000))
files = {f"{name}/core.so": content, f"{name}/__init__.py": b"", f"{name}-1.0.dist-info/METADATA": b"Name: x\\n"}
with zipfile.ZipFile(f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
    for path, content in files.items():
        wheel.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED, 9)
"""

def _wheel_repository_impl(rctx):
    name = rctx.name.replace("~", "+").rpartition("+")[2].removeprefix("pip_deps_")
    result = rctx.execute(["python3", "-c", _PROGRAM, name])
    if result.return_code:
        fail(result.stderr)
    rctx.symlink("{}-1.0-py3-none-any.whl".format(name), "wheel.zip")
    rctx.extract("wheel.zip", output = "site-packages")
    rctx.delete("wheel.zip")
    rctx.file("BUILD.bazel", _BUILD)

wheel_repository = repository_rule(implementation = _wheel_repository_impl)
