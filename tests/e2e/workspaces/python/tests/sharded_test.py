import os

import pytest


@pytest.mark.parametrize("number", range(10))
def test_number(number):
    folder = os.environ["TEST_UNDECLARED_OUTPUTS_DIR"]
    with open(os.path.join(folder, "numbers.txt"), "a") as file:
        file.write(f"{number}\n")
