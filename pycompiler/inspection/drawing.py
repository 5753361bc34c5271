"""Draws a graph of boxes as SVG. Graphviz decides where things lie; the drawing is ours, so that it follows the page's
colours and every name is escaped by the XML library."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

import graphviz

_POINTS = 72  # Graphviz says inches
_CHARACTER, _LINE = 7.3, 16.0  # of the 12 px monospace face, in px
_PAD_X, _PAD_Y = 12.0, 9.0
_SMALLEST = 0.6  # of its size, to which a drawing shrinks to fit the page before it scrolls
_LONGEST = 44  # characters of a line; a longer one loses its middle, and is whole in the tooltip
_STYLE = (Path(__file__).parent / "drawing.css").read_text()


class DrawingError(ValueError):
    """Graphviz is not there, or failed."""


@dataclass(frozen=True)
class Box:
    """`lines`: the first is the name. `kind` becomes the box's CSS class, `link` is where a click goes."""

    id: str
    lines: tuple[str, ...]
    kind: str
    link: str = ""
    tooltip: str = ""


@dataclass(frozen=True)
class Arrow:
    """From one box's id to another's."""

    tail: str
    head: str
    tooltip: str = ""


def draw(boxes: Sequence[Box], arrows: Sequence[Arrow], label: str, name: str = "dag", alone: bool = False) -> str:
    """An <svg> element, top to bottom. `name` is unique on the page. `alone`: a file of its own, with its colours."""
    places, paths, width, height = _lay_out(boxes, arrows)
    svg = Xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "drawing",
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "height": f"{height:.0f}",
            "role": "img",
            "aria-label": _printable(label),
        },
    )
    if not alone:
        svg.set("style", f"min-width: {_SMALLEST * width:.0f}px")
    else:
        Xml.SubElement(svg, "style").text = _STYLE
        Xml.SubElement(svg, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    tip = Xml.SubElement(
        Xml.SubElement(svg, "defs"),
        "marker",
        {
            "id": f"{name}-tip",
            "viewBox": "0 0 8 8",
            "refX": "7.5",
            "refY": "4",
            "markerWidth": "8",
            "markerHeight": "8",
            "orient": "auto",
        },
    )
    Xml.SubElement(tip, "path", {"class": "tip", "d": "M0 0.5L8 4L0 7.5z"})
    for arrow, path in zip(arrows, paths, strict=True):
        drawn = Xml.SubElement(svg, "path", {"class": "arrow", "d": path, "marker-end": f"url(#{name}-tip)"})
        Xml.SubElement(drawn, "title").text = _printable(arrow.tooltip)
    for box in boxes:
        _draw_box(svg, box, *places[box.id])
    return Xml.tostring(svg, encoding="unicode")


def _draw_box(svg: Xml.Element, box: Box, x: float, y: float, width: float, height: float) -> None:
    attributes = {"class": f"box {box.kind}"}
    if box.link:
        svg = Xml.SubElement(svg, "a", {"href": box.link})
    group = Xml.SubElement(svg, "g", attributes)
    Xml.SubElement(group, "title").text = _printable(box.tooltip or "\n".join(box.lines))
    corner = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}", "rx": "7"}
    Xml.SubElement(group, "rect", corner)
    for i, line in enumerate(box.lines):
        at = {"x": f"{x + width / 2:.1f}", "y": f"{y + _PAD_Y + _LINE * i + 11.5:.1f}"}
        Xml.SubElement(group, "text", {**at, "class": "detail" if i else "name"}).text = _shortened(line)


def _lay_out(boxes: Sequence[Box], arrows: Sequence[Arrow]):
    """Box id -> (x, y, width, height), the arrows' paths, and the size of it all, in px with y downwards."""
    numbers = {box.id: str(i) for i, box in enumerate(boxes)}
    graph = graphviz.Digraph(
        graph_attr={"rankdir": "TB", "nodesep": "0.28", "ranksep": "0.42", "pad": "0"},
        node_attr={"shape": "box", "fixedsize": "true", "label": ""},
        edge_attr={"arrowhead": "none"},
    )
    for box in boxes:
        wide = max(_cells(_shortened(line)) for line in box.lines) * _CHARACTER + 2 * _PAD_X
        tall = len(box.lines) * _LINE + 2 * _PAD_Y
        graph.node(numbers[box.id], width=f"{wide / _POINTS:.4f}", height=f"{tall / _POINTS:.4f}")
    for i, arrow in enumerate(arrows):
        graph.edge(numbers[arrow.tail], numbers[arrow.head], label="", comment=str(i))
    try:
        laid_out = graph.pipe(format="plain", encoding="utf-8")
    except graphviz.ExecutableNotFound as error:
        raise DrawingError(
            "drawing needs Graphviz's program `dot`, which is not on the PATH: install the package graphviz of your "
            "system (apt-get install graphviz, dnf install graphviz, brew install graphviz, conda install graphviz)"
        ) from error
    except graphviz.CalledProcessError as error:
        raise DrawingError(f"Graphviz could not lay out {len(boxes)} boxes: {error}") from error
    return _parsed(laid_out, boxes, arrows, numbers)


def _parsed(text: str, boxes: Sequence[Box], arrows: Sequence[Arrow], numbers: dict[str, str]):
    margin = 8.0
    ids = {number: id for id, number in numbers.items()}
    places, curves = {}, {}
    width = height = 0.0
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "graph":
            width, height = float(words[1]) * _POINTS, float(words[2]) * _POINTS
        elif kind == "node":
            x, y, w, h = (float(word) * _POINTS for word in words[1:5])
            places[ids[words[0]]] = (x - w / 2 + margin, height - y - h / 2 + margin, w, h)
        elif kind == "edge":
            points = [float(word) * _POINTS for word in words[3 : 3 + 2 * int(words[2])]]
            pairs = [
                f"{x + margin:.1f} {height - y + margin:.1f}" for x, y in zip(points[::2], points[1::2], strict=True)
            ]
            curves.setdefault((ids[words[0]], ids[words[1]]), []).append(f"M{pairs[0]}C{' '.join(pairs[1:])}")
    paths = [curves[arrow.tail, arrow.head].pop(0) for arrow in arrows]
    return places, paths, width + 2 * margin, height + 2 * margin


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _shortened(text: str) -> str:
    text = _printable(text)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half + 1 :]}"


def _printable(text: str) -> str:
    # XML has no control characters, escaped or not.
    return "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
