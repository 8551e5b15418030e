import os
import sys

assert sys.argv[1:] == ["one", "argument"]
assert os.environ["ONE"] == "un"
assert os.environ["LOCATION"] == "ported/env_test.py"
assert os.environ["RULEDIR"].endswith("/bin/ported")
assert os.environ["DEFINE"] == "defined"
assert os.environ["INHERITED"] == "inherited"
assert os.environ["BAZEL_TARGET"] == "//ported:env_test"
assert os.environ["BAZEL_TARGET_NAME"] == "env_test"
assert os.environ["BAZEL_WORKSPACE"] == "_main"
