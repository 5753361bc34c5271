"""Makes artifacts that are wrong in one way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import xxhash
from torch.export.pt2_archive._package import PT2ArchiveReader, PT2ArchiveWriter

from recpile.pycompiler.artifact import layout

Edit = Callable[[dict, dict[str, bytes]], None]


def rewrite(source: Path, target: Path, edit: Edit = lambda manifest, entries: None) -> Path:
    """Copies an artifact, entry by entry, after `edit` has changed its manifest and its entries; the sums that the
    manifest itself carries are left as `edit` leaves them."""
    with PT2ArchiveReader(str(source)) as reader:
        names = [name for name in reader.get_file_names() if name not in layout.WRITER_ENTRIES]
        entries = {name: reader.read_bytes(name) for name in names}
    manifest = json.loads(entries.pop(layout.MANIFEST))
    entries.pop(layout.MANIFEST_SUM)
    edit(manifest, entries)
    with PT2ArchiveWriter(str(target)) as writer:
        for name, data in entries.items():
            writer.write_bytes(name, data)
        text = json.dumps(manifest).encode()
        writer.write_bytes(layout.MANIFEST, text)
        writer.write_bytes(layout.MANIFEST_SUM, xxhash.xxh3_128_hexdigest(text).encode())
    return target


def flip_byte(source: Path, target: Path, at: int) -> Path:
    data = bytearray(source.read_bytes())
    data[at] ^= 0x40
    target.write_bytes(data)
    return target
