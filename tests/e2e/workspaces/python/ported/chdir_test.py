import json


def test_directory():
    with open("data.json") as file:
        assert json.load(file) == {"answer": 42}
