"""The executables for aarch64 need no file of the machine on which they run."""

import struct

import pytest

from programs import launcher_aarch64, program_aarch64

# System V ABI: e_machine, p_type and d_tag
EM_AARCH64 = 183
PT_DYNAMIC, PT_INTERP = 2, 3
DT_NULL, DT_NEEDED = 0, 1


@pytest.mark.parametrize("executable", [program_aarch64, launcher_aarch64], ids=["program", "launcher"])
def test_it_is_static(executable) -> None:
    image = executable().read_bytes()
    assert image[:6] == b"\x7fELF\x02\x01", "64 bits, little-endian"
    (machine,) = struct.unpack_from("<H", image, 18)
    assert machine == EM_AARCH64
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    segments = [struct.unpack_from("<II6Q", image, table + index * size) for index in range(count)]
    types = [segment[0] for segment in segments]
    assert types and PT_INTERP not in types
    for kind, _, offset, _, _, length, *_ in segments:
        if kind == PT_DYNAMIC:
            tags = [struct.unpack_from("<q", image, offset + at)[0] for at in range(0, length, 16)]
            assert DT_NEEDED not in tags[: tags.index(DT_NULL)]
