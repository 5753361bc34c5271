"""`verify` on an engine that does not do what the debug runtime does: the stage is named."""

from __future__ import annotations

import re

import xxhash
from artifact.tamper import rewrite

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.parity.through_engine import start_engine
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.verify import VerifyOptions, verify


def test_an_engine_that_parts_from_the_debug_runtime_is_named_with_the_stage(export, tmp_path):
    artifact = Artifact(export("tiny_dlrm", tables="int8").path)

    def other_rows(manifest, entries):
        table = bytearray(entries["data/recpile/tables/1"])
        table[4::20] = bytes(one ^ 0x40 for one in table[4::20])  # the first code of each row of 4 + 16 bytes
        entries["data/recpile/tables/1"] = bytes(table)
        manifest["files"]["data/recpile/tables/1"]["xxh3"] = xxhash.xxh3_128_hexdigest(bytes(table))

    def start(path):
        return start_engine(rewrite(path, tmp_path / f"{path.stem}-other.pt2", other_rows))

    report = verify(artifact, random_inputs(artifact.manifest, 16), options=VerifyOptions(start=start))
    said = str(report.finding)
    assert said.startswith("first fault: engine: it does not answer as the debug runtime, which runs the same code\n")
    assert re.search(r"\n  output score: largest difference \S+ at \[\d+\]: .*\n  first at stage embedding\n", said)
    assert "\n  reads sparse.values: int64[" in said
    assert re.search(
        r"the engine gives embedding/pooled: fp32\[16, 80\] .*\n  the debug runtime: fp32\[16, 80\] ", said
    )
    # Column 16: the first of table 'item'.
    assert re.search(r"largest difference \S+ at \[\d+, (16|32)\]: \S+ instead of \S+$", said)
