"""Labels of wheels, as `requirements.bzl` of a pip hub has them."""

def wheel(name):
    """The label of a distribution.

    Args:
        name: of the distribution.

    Returns:
        A label.
    """
    return "@whl_{}//:pkg".format(name.replace("-", "_"))
