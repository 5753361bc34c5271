"""Gives weights whose names Python cannot write as attributes (a table called "class") names that it can."""

from __future__ import annotations

import keyword

from torch.export import ExportedProgram


def rename_keywords(graph: ExportedProgram) -> None:
    """Renames weights in place, in the graph's signature and state. Only the captured graph; the model keeps its names.

    torch.fx writes a weight as `self.bags.class.weight`, which is no Python.
    """
    held = [graph.state_dict, graph.constants]
    taken = {name for one in held for name in one}
    renamed: dict[str, str] = {}
    for name in sorted(taken):
        parts = name.split(".")
        if not any(keyword.iskeyword(part) for part in parts):
            continue
        new = ".".join(f"{part}_" if keyword.iskeyword(part) else part for part in parts)
        while new in taken:
            new += "_"
        taken.add(new)
        renamed[name] = new
    if not renamed:
        return
    for one in held:
        for name in list(one):
            if name in renamed:
                one[renamed[name]] = one.pop(name)
    for spec in (*graph.graph_signature.input_specs, *graph.graph_signature.output_specs):
        if spec.target in renamed:
            spec.target = renamed[spec.target]
