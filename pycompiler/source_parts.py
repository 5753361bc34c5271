"""Where in the user's code a part of the model comes from: the line that first names it."""

from __future__ import annotations

import inspect
import re

from torch import nn

from recpile.pycompiler.source_lines import source_at, source_of_forward


def source_of_part(model: nn.Module, path: str) -> str:
    """ "file:line: source" for the module or weight at `path` ("towers.0.weight"): the first line of a class of the
    user's that says `self.<part>`, of the innermost module that has one; else where its `forward` begins; "" for
    neither."""
    parts = path.split(".") if path else []
    for depth in reversed(range(len(parts))):
        owner = model.get_submodule(".".join(parts[:depth]))
        if found := _first_mention(type(owner), parts[depth]):
            return found
    for depth in reversed(range(len(parts) + 1)):
        try:
            owner = model.get_submodule(".".join(parts[:depth]))
        except AttributeError:  # the path of a weight: its owner is next
            continue
        forward = source_of_forward(owner)
        if forward and "-packages/" not in forward:
            return forward
    return ""


def _first_mention(owner: type, name: str) -> str:
    for one in owner.__mro__:  # a base class may have made the part
        try:
            lines, start = inspect.getsourcelines(one)
            file = inspect.getsourcefile(one) or ""
        except (OSError, TypeError):  # a class of C, or one that was typed into an interpreter
            continue
        mention = re.compile(rf"\bself\.{re.escape(name)}\b")
        found = next((i for i, line in enumerate(lines) if mention.search(line)), None)
        if found is not None and (source := source_at(file, start + found)):
            return source
    return ""
