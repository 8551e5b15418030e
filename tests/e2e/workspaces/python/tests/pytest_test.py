import os
import socket

from tests import counted


def test_here():
    assert counted.here() == "here"


def test_fixture(number):
    assert number == 42


def test_can_fail():
    assert "FAIL" not in os.environ


def test_socket_paths_are_short_enough(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
