"""What packages of bazel_tools load."""

# buildifier: disable=native-py
py_binary = native.py_binary

# buildifier: disable=native-py
py_library = native.py_library

# buildifier: disable=native-py
py_test = native.py_test
