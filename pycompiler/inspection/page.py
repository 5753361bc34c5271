"""The page of `recpile inspect --html`: one file that needs no network. The template escapes every name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recpile.pycompiler.inspection import graph_view, words
from recpile.pycompiler.inspection.dag import draw_dag, givers, stage_anchor
from recpile.pycompiler.inspection.lookup_cost import lookup_cost

_HERE = Path(__file__).parent


def render_page(manifest: dict, graphs: Mapping[str, dict], file_name: str, file_bytes: int) -> str:
    """`graphs`: stage -> its graph (extra/recpile/graphs/). DrawingError if Graphviz is missing."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": words.number, "shape": words.shape, "per_row": words.per_row}
    stages = [_stage(manifest, graphs.get(stage["name"]), i) for i, stage in enumerate(manifest["stages"])]
    told = {id(note) for stage in stages for note in stage["notes"]}
    return environment.get_template("page.html").render(
        manifest=manifest,
        file_name=file_name,
        file_bytes=file_bytes,
        dag=Markup(draw_dag(manifest, linked=True)),
        stages=stages,
        other_notes=[note for note in manifest["passes"] if id(note) not in told],
        styles=Markup("\n".join((_HERE / name).read_text() for name in ("drawing.css", "page.css"))),
        script=Markup((_HERE / "page.js").read_text()),
    )


def _stage(manifest: dict, graph: dict | None, index: int) -> dict:
    stage, anchor = manifest["stages"][index], stage_anchor(index)
    given = givers(manifest)
    anchors = {f"stage {one['name']}": stage_anchor(i) for i, one in enumerate(manifest["stages"])}
    drawing = graph_view.draw_graph(graph, anchor) if graph else None
    return {
        "it": stage,
        "anchor": anchor,
        "tiles": _tiles(manifest, stage),
        "inputs": [
            (name, given.get(name, "runtime"), anchors.get(given.get(name, ""), "")) for name in stage["inputs"]
        ],
        "tables": lookup_cost(manifest, stage).tables if stage["kind"] == "embedding" else (),
        "operators": graph_view.operators(graph, anchor) if graph else [],
        "sources": graph_view.sources(graph) if graph else [],
        "drawing": Markup(drawing) if drawing else None,
        "notes": [note for note in manifest["passes"] if _touches(note, stage, graph)],
    }


def _tiles(manifest: dict, stage: dict) -> list[tuple[str, str]]:
    """What stands at the top of a stage's section: (label, number)."""
    if stage["kind"] == "embedding":
        cost = lookup_cost(manifest, stage)
        return [
            ("tables", words.number(len(cost.tables))),
            ("features", words.number(len(stage["features"]))),
            ("bytes of tables", words.number(sum(read.bytes for read in cost.tables))),
            ("bytes read and written", words.lookup_bytes(cost)),
        ]
    cost = stage.get("cost")
    if cost is None:
        return []
    return [
        ("FLOPs", words.per_row(cost["flops"])),
        ("bytes moved at least", words.per_row(cost["bytes"])),
        ("bytes moved, operator by operator", words.per_row(cost["operator_bytes"])),
        ("bytes of weights, read once a batch", words.fixed(cost["bytes"])),
    ]


def _touches(note: dict, stage: dict, graph: dict | None) -> bool:
    """A note is of a stage if its subject is the stage, one of its tables, values or operators."""
    subject = note["subject"]
    values = {*stage["inputs"], *(output["name"] for output in stage["outputs"])}
    tables = {feature["table"] for feature in stage.get("features", ())}
    names = {node["name"] for node in graph["nodes"] if "source" in node} if graph else set()
    return subject == stage["name"] or subject in values | tables | names
