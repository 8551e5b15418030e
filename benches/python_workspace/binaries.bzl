"""Binaries that have all wheels."""

load("//:sizes.bzl", "WHEELS")

def wheels(prefix = ""):
    """The labels of all wheels."""
    return ["@wheels//:{}wheel_{}".format(prefix, number) for number in range(WHEELS)]

def binaries(py_binary, count):
    """Declares `count` binaries by the rule `py_binary`."""
    for number in range(count):
        py_binary(
            name = "server_{}".format(number),
            srcs = ["//launch:empty.py"],
            main = "empty.py",
            deps = wheels(),
        )
