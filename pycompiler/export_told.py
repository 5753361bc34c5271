"""What is known of a failure of torch.export, and what is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recpile.pycompiler.decisions import Decision

# What a line of Python asks of a tensor, as it is written: reading a value, and choosing by one.
READS = (
    r"\.item\(",
    r"\.tolist\(",
    r"\.numpy\(",
    r"\b(?:np|numpy|math)\.\w+",
    r"(?<![.\w])(?:int|float|bool|range|round|len|min|max|sum|sorted)\(",
    r"\btorch\.tensor\(",
)
CHOOSES = (r"^(?:if|elif|while|assert)\b", r"\b(?:if|and|or|not|in)\b")


@dataclass(frozen=True)
class Failure:
    """What was raised: torch's words, the operator ("aten.mm.default", or ""), the line of the model ("" if unknown),
    and what was watched while it was traced: decisions from sizes, and lines that read a tensor which
    torch took for a constant. `packed`: a packed sequence was at hand."""

    said: str
    operator: str
    source: str
    decisions: Sequence[Decision]
    constants: Sequence[str] = ()
    packed: bool = False

    @property
    def code(self) -> str:
        return self.source.partition(": ")[2]

    def written(self, patterns: Sequence[str]) -> str:
        """The first of these constructs of Python that the line has, as in "int()"; "" if it has none."""
        found = next((match[0] for one in patterns if (match := re.search(one, self.code))), "")
        return f"{found}…)" if found.endswith("(") else found


def called(source: str) -> str:
    """What a line of Python calls first, such as "torch.topk(…)", or else chooses by ("'if'"); "" for neither."""
    code = source.partition(": ")[2]
    if found := re.search(r"(?:\w+\.)+\w+\(|(?<!def )\b\w+\(", code):
        return f"{found[0]}…)"
    chosen = next((match[0] for one in CHOOSES if (match := re.search(one, code))), "")
    return f"'{chosen}'" if chosen else ""


@dataclass(frozen=True)
class Told:
    reason: str
    way_out: str
    at: str = ""  # if not the operator
    source: str = ""  # if not the line at which it was raised
