"""A stage's graph on the page: its drawing, its operators, and the model's source lines that they came from."""

from __future__ import annotations

from dataclasses import dataclass

from recpile.pycompiler.inspection import words
from recpile.pycompiler.inspection.drawing import Arrow, Box, draw

# More boxes than this are no help to anyone, and take Graphviz minutes.
MOST_DRAWN = 250
_HOT = 0.1  # of the stage's FLOPs


@dataclass(frozen=True)
class Operator:
    """One row of the page's list. `frames` as the stage's graph has them, outermost first; of several operators that
    became one, one after the other."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    gives: tuple[str, ...]
    flops: str
    bytes: str
    frames: tuple[dict, ...]
    anchor: str


@dataclass(frozen=True)
class SourceGroup:
    """A source line, and the operators that it became."""

    frame: dict
    operators: tuple[str, ...]
    flops: float  # a candidate


def operators(graph: dict, anchor: str) -> list[Operator]:
    """The graph's operators in the order in which they run. `anchor` begins their ids on the page."""
    weights = {node["name"]: node["op"].partition(" ")[2] for node in graph["nodes"] if _is_weight(node)}
    return [
        Operator(
            node["name"],
            node["op"],
            tuple(weights.get(one, one) for one in node["inputs"]),
            tuple(_shapes(node)),
            words.per_candidate(node.get("flops", {})),
            _moved(node.get("bytes", {})),
            tuple(graph["frames"][i] for trace in _traces(node) for i in trace),
            f"{anchor}-{i}",
        )
        for i, node in enumerate(graph["nodes"])
        if "source" in node
    ]


def sources(graph: dict) -> list[SourceGroup]:
    """Source lines in the order in which they first ran: of each operator the line nearest to it outside torch."""
    groups: dict[int, list[dict]] = {}
    for node in graph["nodes"]:
        for i in dict.fromkeys(_nearest(graph, trace) for trace in _traces(node) if trace):
            groups.setdefault(i, []).append(node)
    return [
        SourceGroup(
            graph["frames"][i],
            tuple(node["name"] for node in nodes),
            sum(node.get("flops", {}).get("candidate", 0) for node in nodes),
        )
        for i, nodes in groups.items()
    ]


def nearest(graph: dict, node: dict) -> int:
    return _nearest(graph, node["source"])


def _nearest(graph: dict, trace: list[int]) -> int:
    outside = [i for i in trace if not graph["frames"][i]["file"].startswith("torch/")]
    return (outside or trace)[-1]


def _traces(node: dict) -> list[list[int]]:
    """The frames of each operator of the model that this one stands for; of an input or a weight, none."""
    return [node.get("source", []), *node.get("more_sources", [])]


def draw_graph(graph: dict, anchor: str) -> str | None:
    """The <svg> of the graph without its weights; None if it is too large to be drawn."""
    nodes = {node["name"]: (i, node) for i, node in enumerate(graph["nodes"]) if not _is_weight(node)}
    if len(nodes) > MOST_DRAWN:
        return None
    everything = sum(node.get("flops", {}).get("candidate", 0) for _, node in nodes.values())
    boxes, arrows = [], []
    for name, (i, node) in nodes.items():
        flops = node.get("flops", {}).get("candidate", 0)
        hot = everything and flops >= _HOT * everything
        kind = ("hot" if hot else "operator") if "source" in node else "input"
        boxes.append(Box(name, _lines(node), kind, f"#{anchor}-{i}" if "source" in node else "", _tooltip(node)))
        arrows += [Arrow(one, name) for one in dict.fromkeys(node["inputs"]) if one in nodes]
        if "value" in node:
            boxes.append(Box(f"gives {name}", (node["value"],), "output"))
            arrows.append(Arrow(name, f"gives {name}"))
    return draw(boxes, arrows, f"{len(nodes)} operators and inputs", name=anchor)


def _lines(node: dict) -> tuple[str, ...]:
    head = _short(node["op"]) if "source" in node else node["op"].removeprefix("input ")
    return (head, ", ".join(_shapes(node)))


def _shapes(node: dict) -> list[str]:
    """Of what the node gives: one, or "5 of fp32[candidate, 16]" for the parts of a split."""
    given = [words.shape(one) for one in node["outputs"]]
    return given if len(given) == 1 or len(set(given)) > 1 else [f"{len(given)} of {given[0]}"]


def _tooltip(node: dict) -> str:
    flops = f"\nFLOPs: {words.per_row(node['flops'])}" if node.get("flops") else ""
    return f"{node['name']}: {node['op']}{flops}"


def _short(operator: str) -> str:
    """ "aten.linear.default" -> "linear"."""
    return operator.split(".")[1] if operator.count(".") == 2 else operator


def _is_weight(node: dict) -> bool:
    return "source" not in node and not node["op"].startswith("input ")


def _moved(cost: dict) -> str:
    once = f" + {words.fixed(cost)} once" if cost.get("fixed") else ""
    return words.per_candidate(cost) + once
