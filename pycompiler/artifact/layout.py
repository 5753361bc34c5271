"""Where things lie inside an artifact. docs/artifact.md says the same in prose; the C++ loader follows it."""

from __future__ import annotations

FORMAT_VERSION = 2

MANIFEST = "extra/recpile/manifest.json"
# XXH3-128 of the manifest's bytes, in hexadecimal; the manifest holds every other entry's.
MANIFEST_SUM = "extra/recpile/manifest.xxh3"
TABLES = "data/recpile/tables/"
# A stage's graph as JSON, for people: GRAPHS + stage + ".json". Nothing that runs reads it.
GRAPHS = "extra/recpile/graphs/"

# Written by torch's archive writer when it closes, after the manifest: the only entries that no checksum covers.
WRITER_ENTRIES = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")


class ArtifactError(ValueError):
    """An artifact that cannot be read, is damaged, or is not for this machine."""
