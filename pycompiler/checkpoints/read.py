"""Opens a checkpoint of any format that recpile reads. Nothing in a checkpoint is executed."""

from __future__ import annotations

from pathlib import Path

from recpile.pycompiler.checkpoints.dcp_folder import METADATA, DcpWeights
from recpile.pycompiler.checkpoints.errors import CheckpointError, quoted
from recpile.pycompiler.checkpoints.safetensors_file import read_index, read_safetensors
from recpile.pycompiler.checkpoints.torch_file import read_torch_file
from recpile.pycompiler.checkpoints.weights import Weights

_FORMATS = (
    "a file written by torch.save(model.state_dict(), path), a .safetensors file, an .index.json of several, "
    "or a folder of torch.distributed.checkpoint"
)


def read_checkpoint(path: str | Path, key: str | None = None) -> Weights:
    """Opens a file or folder; tables stay on disk until they are loaded into a model.

    `key` (dotted) says which entry of a training dict holds the weights, where that is not obvious. CheckpointError
    names what cannot be read and what to give instead.
    """
    path = Path(path)
    if path.is_dir():
        path = _of_folder(path)
        if path.is_dir():
            return DcpWeights(path, key)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give {_FORMATS}")
    if path.suffix not in (".safetensors", ".json"):
        return read_torch_file(path, key)
    if key is not None:
        raise CheckpointError(f"--checkpoint-key: got '{key}' for {path}, whose weights are not nested; leave it out")
    return read_safetensors(path) if path.suffix == ".safetensors" else read_index(path)


def _of_folder(folder: Path) -> Path:
    """The folder itself if it is DCP's, else the one checkpoint file in it."""
    if (folder / METADATA).is_file():
        return folder
    if any(folder.glob("*.distcp")):
        raise CheckpointError(
            f"{folder} has .distcp files but no {METADATA}: the save did not finish, or not all of it was copied"
        )
    found = sorted(folder.glob("*.index.json")) or sorted(folder.glob("*.safetensors"))
    if len(found) > 1:
        raise CheckpointError(
            f"{folder} holds {quoted(one.name for one in found)}; give one of them, or their .index.json"
        )
    if not found:
        raise CheckpointError(f"no checkpoint in the folder {folder}; give {_FORMATS}")
    return found[0]


def checkpoint_bytes(path: str | Path) -> int:
    """The size on disk, of a folder or an index with all their files."""
    path = Path(path)
    if path.suffix == ".json":
        path = path.parent
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) if path.is_dir() else path.stat().st_size
