"""The code in an artifact asks for no executable stack."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from recpile.pycompiler.executable_stack import forbid_executable_stack

GNU_STACK = b"\x51\xe5\x74\x64"  # the kind of header, before its flags: read 4, write 2, execute 1


@pytest.fixture
def library(tiny, tmp_path) -> Path:
    """The shared object of an artifact."""
    with zipfile.ZipFile(tiny) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".so"))
        (tmp_path / "code.so").write_bytes(archive.read(name))
    return tmp_path / "code.so"


def test_what_the_compiler_writes_does_not_ask(library):
    image = library.read_bytes()
    assert image[image.index(GNU_STACK) + 4] == 6
    assert not forbid_executable_stack(library)


def test_what_asks_is_told_no_and_is_otherwise_left_as_it_is(library):
    wanted = library.read_bytes()
    asking = bytearray(wanted)
    asking[asking.index(GNU_STACK) + 4] = 7
    library.write_bytes(asking)
    assert forbid_executable_stack(library)
    assert library.read_bytes() == wanted
    assert not forbid_executable_stack(library)


def test_what_is_no_shared_object_is_refused(tmp_path):
    (tmp_path / "text.so").write_text("INPUT(libother.so)")
    with pytest.raises(ValueError, match=r"text\.so is no little-endian 64-bit ELF file"):
        forbid_executable_stack(tmp_path / "text.so")
