"""Greets the world."""


def greeting(name):
    """Returns a greeting."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    print(greeting("world"))
