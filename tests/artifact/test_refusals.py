"""Every check that stands before an artifact is used: the Python reader and the C++ engine refuse alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from artifact.tamper import flip_byte, rewrite

from recpile.pycompiler.artifact import layout
from recpile.pycompiler.artifact.reader import Artifact, ArtifactError
from recpile.runtime_cpp import Engine


def _python(path: Path) -> None:
    Artifact(path)


def _cpp(path: Path) -> None:
    Engine(str(path)).stop()


@pytest.fixture(params=[_python, _cpp], ids=["python", "cpp"])
def load(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return request.param


def refused(load: Callable[[Path], None], path: Path, message: str) -> None:
    with pytest.raises((ArtifactError, ValueError, RuntimeError, FileNotFoundError), match=message):
        load(path)


def test_an_untouched_copy_is_accepted(load, tiny, tmp_path):
    load(rewrite(tiny, tmp_path / "copy.pt2"))


def test_a_missing_file_is_named(load, tmp_path):
    refused(load, tmp_path / "none.pt2", r"no artifact at .*none\.pt2")


def test_an_empty_file(load, tmp_path):
    (tmp_path / "empty.pt2").write_bytes(b"")
    refused(load, tmp_path / "empty.pt2", "is empty")


def test_something_that_is_no_archive(load, tmp_path):
    (tmp_path / "text.pt2").write_bytes(b"this is not an archive, but it is long enough to be one" * 10)
    refused(load, tmp_path / "text.pt2", "truncated|not a readable archive")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 0.9999])
def test_a_truncated_file(load, tiny, tmp_path, share):
    data = tiny.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(data[: int(len(data) * share)])
    refused(load, tmp_path / "cut.pt2", "truncated")


def test_a_pt2_archive_of_something_else(load, tiny, tmp_path):
    from torch.export.pt2_archive._package import PT2ArchiveWriter

    with PT2ArchiveWriter(str(tmp_path / "other.pt2")) as writer:
        writer.write_bytes("models/model.json", b"{}")
    refused(load, tmp_path / "other.pt2", "not a recpile artifact")


@pytest.mark.parametrize("entry", ["data/recpile/tables/0", "models/dense.json", "data/sample_inputs/dense.pt"])
def test_an_altered_entry_is_named(load, tiny, tmp_path, entry):
    offset, size = Artifact(tiny)._entries[entry]
    refused(
        load, flip_byte(tiny, tmp_path / "altered.pt2", offset + size // 2), f"'{entry}' does not match its checksum"
    )


def test_altered_code_is_refused_before_it_is_loaded(load, tiny, tmp_path):
    entries = Artifact(tiny)._entries
    (code,) = [name for name in entries if name.endswith(".so")]
    offset, size = entries[code]
    refused(load, flip_byte(tiny, tmp_path / "altered.pt2", offset + size // 2), "does not match its checksum")


def test_an_altered_manifest(load, tiny, tmp_path):
    offset, _ = Artifact(tiny)._entries[layout.MANIFEST]
    refused(
        load,
        flip_byte(tiny, tmp_path / "altered.pt2", offset + 3),
        "manifest does not match its checksum|the manifest of",
    )


def test_a_later_format_version(load, tiny, tmp_path):
    def edit(manifest, entries):
        manifest["format_version"] = 3

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), "version 3.* reads 'recpile' version 2")


def test_a_table_of_a_type_that_is_not_known(load, tiny, tmp_path):
    def edit(manifest, entries):
        manifest["tables"][1]["dtype"] = "fp8"

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), "table 'item'.* has unknown dtype 'fp8'")


@pytest.mark.parametrize("library", ["torch", "fbgemm"])
def test_another_library_version(load, tiny, tmp_path, library):
    def edit(manifest, entries):
        manifest["requires"][library] = "9.9"

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), f"needs {library} 9.9")


def test_another_architecture(load, tiny, tmp_path):
    def edit(manifest, entries):
        manifest["requires"]["arch"] = "riscv64"

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), "compiled for riscv64")


def test_a_cpu_feature_that_this_machine_lacks_is_named(load, tiny, tmp_path):
    def edit(manifest, entries):
        manifest["requires"]["cpu_features"] += ["amx_of_tomorrow", "avx2048"]

    refused(
        load, rewrite(tiny, tmp_path / "x.pt2", edit), "CPU features that this machine lacks: amx_of_tomorrow, avx2048"
    )


def test_a_missing_entry_is_named(load, tiny, tmp_path):
    def edit(manifest, entries):
        del entries["data/recpile/tables/1"]

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), "lacks entry 'data/recpile/tables/1'")


def test_an_entry_that_the_manifest_does_not_list(load, tiny, tmp_path):
    def edit(manifest, entries):
        entries["data/aotinductor/dense/evil.so"] = b"code"

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), "evil.so")


def test_an_entry_of_another_size(load, tiny, tmp_path):
    def edit(manifest, entries):
        entries["data/recpile/tables/1"] += b"more"

    refused(load, rewrite(tiny, tmp_path / "x.pt2", edit), "'data/recpile/tables/1' has .* bytes; the manifest says")


def test_for_another_machine_it_can_still_be_looked_into(tiny, tmp_path):
    def edit(manifest, entries):
        manifest["requires"]["cpu_features"] += ["avx2048"]

    path = rewrite(tiny, tmp_path / "x.pt2", edit)
    assert Artifact(path, for_this_machine=False).manifest["model"]["name"] == "tiny_dlrm"
