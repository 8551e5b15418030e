"""What packages of bazel_tools load, among others that of the JDK."""

# buildifier: disable=native-py
py_binary = native.py_binary

# buildifier: disable=native-py
py_library = native.py_library

# buildifier: disable=native-py
py_test = native.py_test
