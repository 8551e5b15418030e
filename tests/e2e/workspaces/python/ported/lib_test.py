from ported import lib


def test_data():
    assert lib.DATA == {"answer": 42}


def test_name():
    assert lib.NAME == "hidden"
