"""Patterns for `exclude`: parts of an interpreter that an image does not need, and bytecode."""

load(":tables.bzl", "BALLAST")

_PATTERNS = {row["constant"]: row["pattern"] for row in BALLAST if "constant" in row}

# C headers. Packages that compile code at run time (numba, triton) need them.
INTERPRETER_HEADERS = _PATTERNS["INTERPRETER_HEADERS"]

# Static libraries, the configuration for linking with them, and pkg-config files.
INTERPRETER_STATIC_LIBRARIES = _PATTERNS["INTERPRETER_STATIC_LIBRARIES"]

# The standard library's own tests.
INTERPRETER_TESTS = _PATTERNS["INTERPRETER_TESTS"]

# Files for interactive use: IDLE, turtle graphics, pydoc's topics, the manual page.
INTERPRETER_DESKTOP = _PATTERNS["INTERPRETER_DESKTOP"]

# pip and setuptools in the interpreter, including the wheels that ensurepip installs, and the path file that
# imports a part of setuptools whenever Python starts.
INTERPRETER_INSTALLERS = _PATTERNS["INTERPRETER_INSTALLERS"]

# All bytecode: files that Python has written into a writable repository, which differ between machines, but
# also files from wheels and those compiled ahead of time.
PYCACHE = _PATTERNS["PYCACHE"]

# All of the above. PYCACHE is not limited to the interpreter: it also excludes precompiled bytecode of wheels.
SLIM_INTERPRETER = _PATTERNS.values()
