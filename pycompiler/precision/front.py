"""The size/quality front of a search: as an SVG file of its own, or in a page with what each table got and why."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recpile.pycompiler.packing import TABLE_DTYPES
from recpile.pycompiler.precision.choose import Assignment, bytes_of, loss_of
from recpile.pycompiler.precision.report import COLUMNS, percent, rows_of, summary
from recpile.pycompiler.precision.search import Found

_WIDTH, _HEIGHT, _MARGIN = 760, 440, 64
_INK, _LINE, _CHOSEN, _BUDGET = "#1f2933", "#2f6fbd", "#c2410c", "#7b8794"


FORMATS = (".svg", ".html")


def draw_front(found: Found, path: Path) -> None:
    """Writes it to `path`, whose suffix is one of FORMATS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(front_html(found) if path.suffix == ".html" else front_svg(found), encoding="utf-8")


def front_html(found: Found) -> str:
    """One page that needs no network."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("front.html").render(
        budget=percent(found.budget),
        summary=summary(found),
        drawing=Markup(front_svg(found)),
        columns=COLUMNS,
        rows=rows_of(found),
    )


def front_svg(found: Found) -> str:
    """Bytes of all tables and layers searched to the right, expected loss upwards: its square root, as steps grow
    fourfold a type."""
    points = [(bytes_of(one), loss_of(one)) for one in found.front.steps]
    uniform = [(dtype, bytes_of(one), loss_of(one)) for dtype in TABLE_DTYPES if (one := _uniform(found, dtype))]
    most_bytes = max(size for size, _ in points)
    most_loss = max(*(loss for _, loss in points), *(loss for _, _, loss in uniform), found.budget) or 1.0

    def place(size: float, loss: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * size / most_bytes
        return x, _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (loss / most_loss) ** 0.5

    svg = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}")
    svg.set("font-family", "sans-serif")
    svg.set("font-size", "12")
    ElementTree.SubElement(svg, "rect", width=str(_WIDTH), height=str(_HEIGHT), fill="white")
    left, bottom = place(0, 0)
    right, top = place(most_bytes, most_loss)
    _line(svg, [(left, top), (left, bottom), (right, bottom)], _INK)
    _text(svg, left, top - 24, "normalized entropy lost, expected from each table and layer alone")
    _text(svg, right, bottom + 36, "bytes of tables and layers", "end")
    for share in (0.25, 0.5, 0.75, 1.0):
        _text(svg, place(share * most_bytes, 0)[0], bottom + 18, f"{share * most_bytes:,.0f}", "middle")
    _text(svg, left + 4, top - 4, percent(most_loss))
    _, height = place(0, found.budget)
    _line(svg, [(left, height), (right, height)], _BUDGET, dashed=True)
    _text(svg, right, height - 4, f"budget {percent(found.budget)}", "end", _BUDGET)
    _line(svg, [place(*point) for point in points], _LINE)
    for before, step in zip((None, *found.front.steps), found.front.steps, strict=False):
        _dot(svg, *place(bytes_of(step), loss_of(step)), 3, _LINE, _told(before, step))
    for dtype, size, loss in uniform:
        _dot(svg, *place(size, loss), 4, _BUDGET, _point(size, loss))
        _text(svg, place(size, loss)[0] + 6, place(size, loss)[1] - 6, f"all {dtype}", "start", _BUDGET)
    chosen = found.repaired.assignment
    x, y = place(bytes_of(chosen), loss_of(chosen))
    _dot(svg, x, y, 6, _CHOSEN, _point(bytes_of(chosen), loss_of(chosen)))
    _text(svg, x + 10, y + 16, f"chosen: {bytes_of(chosen):,} bytes, {percent(loss_of(chosen))}", "start", _CHOSEN)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _uniform(found: Found, dtype: str) -> Assignment | None:
    """Tables all of one type, layers as they were chosen."""
    by_table = {
        key: next((o for o in options if o.dtype == dtype), None)
        if options[0].kind == "table"
        else found.repaired.assignment[key]
        for key, options in found.options.items()
    }
    kept = {name: one for name, one in by_table.items() if one is not None}
    return kept if len(kept) == len(by_table) else None


def _line(svg: ElementTree.Element, points: list[tuple[float, float]], colour: str, dashed: bool = False) -> None:
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = ElementTree.SubElement(svg, "polyline", points=text, fill="none", stroke=colour)
    if dashed:
        line.set("stroke-dasharray", "5 4")


def _dot(svg: ElementTree.Element, x: float, y: float, radius: int, colour: str, told: str) -> None:
    """`told`: what a browser shows under the cursor."""
    dot = ElementTree.SubElement(svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=str(radius), fill=colour)
    ElementTree.SubElement(dot, "title").text = told


def _told(before: Assignment | None, step: Assignment) -> str:
    """What changed in a step of the front, and what all then takes and loses."""
    changed = [f"{name} to {one.dtype}" for name, one in step.items() if before and before[name] != one]
    return f"{', '.join(changed) or 'all as large as may be'}: {_point(bytes_of(step), loss_of(step))}"


def _point(size: float, loss: float) -> str:
    return f"{size:,.0f} bytes, {percent(loss)}"


def _text(svg: ElementTree.Element, x: float, y: float, text: str, anchor: str = "start", colour: str = _INK) -> None:
    one = ElementTree.SubElement(svg, "text", x=f"{x:.1f}", y=f"{y:.1f}", fill=colour)
    one.set("text-anchor", anchor)
    one.text = text
