"""Patterns for `exclude`: what an image does not need of an interpreter, and bytecode."""

_INTERPRETER = "{interpreter}"
_STANDARD_LIBRARY = _INTERPRETER + "lib/python3[^/]*"

# C headers. Packages that compile at run time (numba, triton) need them.
INTERPRETER_HEADERS = _INTERPRETER + "include/"

# Static libraries, the configuration for linking with them, and pkg-config files.
INTERPRETER_STATIC_LIBRARIES = _INTERPRETER + "(.*\\.a$|lib/pkgconfig/|lib/python3[^/]*/config-)"

# The standard library's own tests.
INTERPRETER_TESTS = _STANDARD_LIBRARY + "/(test|[a-z0-9_]+/tests?|idlelib/idle_test)/"

# Programs for people at a desk: IDLE, turtle graphics, pydoc's topics, the manual page.
INTERPRETER_DESKTOP = _INTERPRETER + "(lib/python3[^/]*/((idlelib|turtledemo|pydoc_data)/|turtle\\.py$)|share/man/)"

# pip and setuptools in the interpreter, also as the wheels that ensurepip installs, and the path file by
# which setuptools is imported whenever Python starts.
INTERPRETER_INSTALLERS = _STANDARD_LIBRARY + "/((ensurepip|site-packages/(pip|setuptools|pkg_resources|_distutils_hack)(-[^/]*)?)/|site-packages/distutils-precedence\\.pth$)"

# Bytecode, everywhere: what a run of Python left in a writable repository, which differs from machine to
# machine, and also what comes with wheels or is compiled ahead of time.
PYCACHE = "/__pycache__/"

# All of the above. PYCACHE is not limited to the interpreter: precompiled bytecode of wheels goes, too.
SLIM_INTERPRETER = [
    INTERPRETER_HEADERS,
    INTERPRETER_STATIC_LIBRARIES,
    INTERPRETER_TESTS,
    INTERPRETER_DESKTOP,
    INTERPRETER_INSTALLERS,
    PYCACHE,
]
