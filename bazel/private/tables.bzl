"""Facts that the rules and the program share, with one row per line.

The program includes this file (src/tables.rs), so each row is also a JSON object.
"""

# Codecs, by their names in `compress`, the default first, with the file extension and the media type (OCI
# image-spec, `media-types.md`) of layers, and the levels. 6 is zlib's default level, and 3 is zstd's. At
# `lifted_levels`, files that are compressed in wheels are taken from there: wheels are made with zlib's default level,
# so at levels above they would make layers larger.
CODECS = [
    {"name": "gzip", "extension": ".tar.gz", "media_type": "application/vnd.oci.image.layer.v1.tar+gzip", "levels": {"lowest": 0, "highest": 9, "default": 6}, "lifted_levels": {"lowest": 1, "highest": 6}},
    {"name": "zstd", "extension": ".tar.zst", "media_type": "application/vnd.oci.image.layer.v1.tar+zstd", "levels": {"lowest": 1, "highest": 22, "default": 3}},
    {"name": "none", "extension": ".tar", "media_type": "application/vnd.oci.image.layer.v1.tar"},
]

# Formats of layers that can be mounted before they are pulled, or fetched in part, by their names in `lazy`, and the
# codecs that they require.
LAZY = [
    {"name": "estargz", "codec": "gzip"},
    {"name": "zstd:chunked", "codec": "zstd"},
]

# Processors that Linux supports, by `e_machine` (`linux/elf-em.h`). ELF images for other processors are data:
# code for GPUs (190 is CUDA, 224 is AMD GPU) or for the kernel (247 is BPF). A `cpu` is a value of
# `@platforms//cpu`, so an image's platform can have it. Other processors have only a `name`, for messages.
PROCESSORS = [
    {"machine": 3, "cpu": "x86_32"},
    {"machine": 21, "cpu": "ppc64le"},
    {"machine": 22, "cpu": "s390x"},
    {"machine": 40, "cpu": "arm"},
    {"machine": 62, "cpu": "x86_64"},
    {"machine": 183, "cpu": "aarch64"},
    {"machine": 243, "cpu": "riscv64"},
    {"machine": 2, "name": "sparc"},
    {"machine": 4, "name": "m68k"},
    {"machine": 8, "name": "mips64"},
    {"machine": 15, "name": "parisc"},
    {"machine": 18, "name": "sparc32plus"},
    {"machine": 20, "name": "ppc"},
    {"machine": 42, "name": "sh"},
    {"machine": 43, "name": "sparc64"},
    {"machine": 50, "name": "ia64"},
    {"machine": 92, "name": "openrisc"},
    {"machine": 93, "name": "arc"},
    {"machine": 94, "name": "xtensa"},
    {"machine": 113, "name": "nios2"},
    {"machine": 164, "name": "hexagon"},
    {"machine": 189, "name": "microblaze"},
    {"machine": 195, "name": "arcv2"},
    {"machine": 252, "name": "csky"},
    {"machine": 258, "name": "loongarch64"},
    {"machine": 36902, "name": "alpha"},
]

# The layer groups that are tried after the user's own, in this order. Consecutive rows of one group become
# alternatives of one pattern. `{runfiles}` stands for the runfiles directory, `{interpreter}` for the directory
# of an interpreter in it (src/groups.rs). `of` is what creates such paths. An `example` is a path relative to
# the runfiles directory that matches.
#
# `interpreter` precedes `packages`, so that an interpreter's own site-packages stay with it. The virtual
# environment that a rule set creates for a binary has links and path files that change with the binary, so they
# go into `default`, although they are in a `site-packages` directory.
DEFAULT_GROUP_PATTERNS = [
    {"group": "interpreter", "pattern": "{interpreter}", "of": "every rule set, found by the standard library", "example": "python_3_11_x86_64-unknown-linux-gnu/bin/python3"},
    {"group": "interpreter", "pattern": "{runfiles}[^/]*/_solib_[^/]*/[^/]*/libpython[0-9.]+t?\\.so", "of": "Bazel, a copy of the interpreter's shared library", "example": "_main/_solib_k8/_U@python39_S_S_Clib___Ulib/libpython3.9.so.1.0"},
    {"group": "packages", "pattern": "{runfiles}pip_", "of": "rules_python in a WORKSPACE, hub pip or pip_deps", "example": "pip_deps_numpy/BUILD.bazel"},
    {"group": "packages", "pattern": "{runfiles}pypi_", "of": "rules_python in a WORKSPACE, hub pypi", "example": "pypi_numpy/bin/f2py"},
    {"group": "packages", "pattern": "{runfiles}[^/]*[~+]pip_", "of": "an extension of a user, hub pip", "example": "_main~wheels~pip_deps_numpy/bin/f2py"},
    {"group": "packages", "pattern": "{runfiles}[^/]*[~+]pypi_", "of": "an extension of a user, hub pypi", "example": "_main+wheels+pypi_numpy/bin/f2py"},
    {"group": "packages", "pattern": "{runfiles}[^/]*[~+]pip[~+]", "of": "rules_python's extension pip, any hub", "example": "rules_python++pip+hub_311_numpy/bin/f2py"},
    {"group": "packages", "pattern": "{runfiles}[^/]*[~+]whl_install__", "of": "aspect_rules_py 2", "example": "aspect_rules_py++uv+whl_install__myproj__numpy__1_26_4/actual_install.install/bin/f2py"},
    {"group": "default", "pattern": "{runfiles}.*/[_.].*\\.venv/", "of": "rules_python and aspect_rules_py 2, _server.venv, ._server.venv and _sub/server.venv", "example": "_main/app/_server.venv/lib/python3.11/site-packages/numpy"},
    {"group": "default", "pattern": "{runfiles}.*/\\..*/lib/python[0-9]+\\.[0-9]+t?/site-packages/", "of": "aspect_rules_py 1, a tree called .server", "example": "_main/app/.server/lib/python3.11/site-packages/numpy"},
    {"group": "packages", "pattern": "{runfiles}.*/site-packages/", "of": "packages elsewhere", "example": "my_hub_311_numpy/site-packages/numpy/__init__.py"},
]

# Tree artifacts have unknown contents at analysis, so their repositories are recognized by name: those of
# interpreters, and those of the package `{package}`.
REPOSITORY_NAMES = [
    {"holds": "interpreter", "pattern": "([^/]*[~+])?python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*", "of": "rules_python, its forks and aspect_rules_py", "example": "rules_python~~python~python_3_11_x86_64-unknown-linux-gnu"},
    {"holds": "package", "pattern": "([^/]*[~+])?whl_install__[^/]*__{package}__[^/]*", "of": "aspect_rules_py 2", "example": "aspect_rules_py++uv+whl_install__myproj__numpy__1_26_4"},
]

# What most images do not need. `constant` is the name of the pattern in `@rules_pylayer//bazel:defs.bzl`; the others
# are only suggested. `of` says whose files these are: `{interpreter}` stands for its directory.
#
# Packages that compile code at run time (numba, triton) need headers. Bytecode includes files that Python has written
# into a writable repository, which differ between machines, but also files from wheels and those compiled ahead of
# time. setuptools' path file imports a part of it whenever Python starts.
BALLAST = [
    {"constant": "INTERPRETER_HEADERS", "of": "interpreter", "what": "C headers of the interpreter", "pattern": "{interpreter}include/"},
    {"constant": "INTERPRETER_STATIC_LIBRARIES", "of": "interpreter", "what": "static libraries of the interpreter", "pattern": "{interpreter}(.*\\.a$|lib/pkgconfig/|lib/python3[^/]*/config-)"},
    {"constant": "INTERPRETER_TESTS", "of": "interpreter", "what": "tests of the standard library", "pattern": "{interpreter}lib/python3[^/]*/(test|[a-z0-9_]+/tests?|idlelib/idle_test)/"},
    {"constant": "INTERPRETER_DESKTOP", "of": "interpreter", "what": "files of the interpreter for interactive use", "pattern": "{interpreter}(lib/python3[^/]*/((idlelib|turtledemo|pydoc_data)/|turtle\\.py$)|share/man/)"},
    {"constant": "INTERPRETER_INSTALLERS", "of": "interpreter", "what": "pip and setuptools in the interpreter", "pattern": "{interpreter}lib/python3[^/]*/((ensurepip|site-packages/(pip|setuptools|pkg_resources|_distutils_hack)(-[^/]*)?)/|site-packages/distutils-precedence\\.pth$)"},
    {"constant": "PYCACHE", "of": "any", "what": "bytecode", "pattern": "/__pycache__/"},
    {"of": "distribution", "what": "tests of packages", "pattern": "/site-packages/([^/]+/)+tests?/"},
    {"of": "distribution", "what": "headers and static libraries of packages", "pattern": "/site-packages/([^/]+/)*[^/]+\\.(h|hpp|hxx|cuh|a|lib)$"},
    {"of": "distribution", "what": "source code of compiled modules", "pattern": "/site-packages/([^/]+/)*[^/]+\\.(c|cc|cpp|cxx|cu|pyx|pxd|pxi|f|f90)$"},
    {"of": "distribution", "what": "type stubs", "pattern": "/site-packages/([^/]+/)*[^/]+\\.pyi$"},
]
