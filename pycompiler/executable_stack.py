"""Takes back a shared object's wish for an executable stack."""

from __future__ import annotations

import struct
from pathlib import Path

_GNU_STACK = 0x6474E551
_EXECUTABLE = 1


def forbid_executable_stack(library: Path) -> bool:
    """Clears the flag in place; whether it was set.

    AOTInductor assembles weights from a file that does not say whether it needs an executable stack, which linkers take
    for yes. A C library that loads such code makes the stacks of all threads of the process executable, and since glibc
    2.41 refuses to load it. The code itself never needs one. ELF, 64 bits, little-endian; else ValueError.
    """
    image = bytearray(library.read_bytes())
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{library} is no little-endian 64-bit ELF file")
    (headers,) = struct.unpack_from("<Q", image, 0x20)
    size, count = struct.unpack_from("<HH", image, 0x36)
    for at in range(headers, headers + count * size, size):
        kind, flags = struct.unpack_from("<II", image, at)
        if kind == _GNU_STACK and flags & _EXECUTABLE:
            with library.open("r+b") as file:
                file.seek(at + 4)
                file.write(struct.pack("<I", flags & ~_EXECUTABLE))
            return True
    return False
