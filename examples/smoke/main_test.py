import main

assert main.greeting("Bazel") == "Hello, Bazel!"
