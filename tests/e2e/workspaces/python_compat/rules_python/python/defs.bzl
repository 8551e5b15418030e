"""The rules."""

load("@bazel_tools//tools/python:toolchain.bzl", _py_runtime_pair = "py_runtime_pair")
load("//python/private:py_info.bzl", _PyInfo = "PyInfo")
load("//python/private:rules.bzl", _py_binary = "py_binary", _py_library = "py_library")

PyInfo = _PyInfo
py_binary = _py_binary
py_library = _py_library

# Packages of bazel_tools use these two, which the tests do not build. buildifier: disable=native-py
py_runtime = native.py_runtime
py_runtime_pair = _py_runtime_pair
py_test = native.py_test
