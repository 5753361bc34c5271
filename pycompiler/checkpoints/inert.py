"""Stand-ins for what a training script pickled beside the weights (its arguments, a numpy number, a whole object)."""

from __future__ import annotations

from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint


class Inert:
    """Takes what was pickled and does nothing with it: the weights beside it can be read, and none of its code runs."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def stand_ins(path: Path) -> list[tuple[type[Inert], str]]:
    """A class for each name that the zip file at `path` asks for and that torch would not load; it keeps the name."""
    names = get_unsafe_globals_in_checkpoint(str(path))
    return [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in names]
