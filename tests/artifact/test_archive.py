"""What an artifact is to tools that have never heard of recpile."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from recpile.pycompiler.artifact.reader import Artifact


def test_stock_torch_opens_it_in_a_process_without_recpile(tiny):
    program = f"""
import sys, torch
from torch.export.pt2_archive._package import load_pt2
held = load_pt2({str(tiny)!r})
assert not any(name.startswith("recpile") for name in sys.modules)
print(sorted(held.exported_programs), sorted(held.aoti_runners), sorted(held.extra_files))
"""
    got = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    graphs = "'recpile/graphs/dense.json', 'recpile/graphs/embedding.json'"
    assert got.strip() == f"['dense'] ['dense'] [{graphs}, 'recpile/manifest.json', 'recpile/manifest.xxh3']"


def test_entries_are_stored_and_aligned_so_that_they_can_be_mapped(tiny):
    with zipfile.ZipFile(tiny) as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.testzip() is None
    assert {offset % 64 for offset, _ in Artifact(tiny)._entries.values()} == {0}


def test_table_bytes_are_in_it_once_and_not_in_the_shared_object(export):
    small = export("tiny_dlrm", tables="int8").path
    manifest = Artifact(small).manifest
    item = next(table for table in manifest["tables"] if table["name"] == "item")
    assert (item["rows"], item["dim"], item["row_bytes"]) == (80, 16, 20)
    rows = Artifact(small).table("item").numpy().tobytes()
    assert small.read_bytes().count(rows) == 1


def test_the_manifest_says_what_was_done_and_what_it_costs(export):
    manifest = Artifact(export("tiny_dlrm", tables="int8", dense="bf16").path).manifest
    assert [stage["name"] for stage in manifest["stages"]] == ["embedding", "dense"]
    assert manifest["stages"][1]["precision"] == "bf16"
    assert all(0 < table["error"]["mean"] < table["error"]["max"] < 0.02 for table in manifest["tables"])
    assert any(note["pass_name"] == "QuantizeTables" and note["did"] for note in manifest["passes"])
    assert manifest["inputs"][1]["keys"] == ["user", "item", "genres", "city", "history"]
    json.dumps(manifest)


def test_a_failed_check_leaves_what_was_there(tmp_path: Path, tiny):
    import zoo

    from recpile.pycompiler.compile import CompileOptions, compile_model
    from recpile.pycompiler.quality import ParityError

    class Counting(zoo.TinyDLRM):
        calls = 0

        def forward(self, dense, sparse):
            self.calls += 1
            return super().forward(dense, sparse) + self.calls

    _, schema = zoo.tiny_dlrm()
    target = tmp_path / "model.pt2"
    target.write_bytes(b"the old one")
    with pytest.raises(ParityError, match="differs from the model"):
        compile_model(Counting().eval(), schema, target, CompileOptions("counting"))
    assert target.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [target]
