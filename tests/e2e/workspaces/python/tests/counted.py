"""Code whose coverage is measured."""


def here():
    return "here"


def in_child():
    return "in a child"


def never():
    return "never"
