"""What a binary of this module's rules says about itself. Loads no other rule set."""

PyBinaryInfo = provider(
    doc = "A binary that `py_binary` or `py_test` made. Directories are relative to the runfiles directory.",
    fields = {
        "args": "list of strings: the arguments that it is run with, expanded",
        "distributions": "depset of directories with installed distributions, also those of binaries in its runfiles",
        "env": "dict of the variables that it is run with, expanded",
        "interpreters": "depset of directories with interpreters, also those of binaries in its runfiles",
    },
)
