"""Patterns for `exclude`: parts of an interpreter that an image does not need, and bytecode."""

_INTERPRETER = "{interpreter}"
_STANDARD_LIBRARY = _INTERPRETER + "lib/python3[^/]*"

# C headers. Packages that compile code at run time (numba, triton) need them.
INTERPRETER_HEADERS = _INTERPRETER + "include/"

# Static libraries, the configuration for linking with them, and pkg-config files.
INTERPRETER_STATIC_LIBRARIES = _INTERPRETER + "(.*\\.a$|lib/pkgconfig/|lib/python3[^/]*/config-)"

# The standard library's own tests.
INTERPRETER_TESTS = _STANDARD_LIBRARY + "/(test|[a-z0-9_]+/tests?|idlelib/idle_test)/"

# Files for interactive use: IDLE, turtle graphics, pydoc's topics, the manual page.
INTERPRETER_DESKTOP = _INTERPRETER + "(lib/python3[^/]*/((idlelib|turtledemo|pydoc_data)/|turtle\\.py$)|share/man/)"

# pip and setuptools in the interpreter, including the wheels that ensurepip installs, and the path file that
# imports a part of setuptools whenever Python starts.
INTERPRETER_INSTALLERS = _STANDARD_LIBRARY + "/((ensurepip|site-packages/(pip|setuptools|pkg_resources|_distutils_hack)(-[^/]*)?)/|site-packages/distutils-precedence\\.pth$)"

# All bytecode: files that Python has written into a writable repository, which differ between machines, but
# also files from wheels and those compiled ahead of time.
PYCACHE = "/__pycache__/"

# All of the above. PYCACHE is not limited to the interpreter: it also excludes precompiled bytecode of wheels.
SLIM_INTERPRETER = [
    INTERPRETER_HEADERS,
    INTERPRETER_STATIC_LIBRARIES,
    INTERPRETER_TESTS,
    INTERPRETER_DESKTOP,
    INTERPRETER_INSTALLERS,
    PYCACHE,
]
