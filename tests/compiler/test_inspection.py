"""The drawing and the page of `recpile inspect`, from a manifest and stage graphs: nothing is compiled here."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch
import zoo
from compiler.graphs import Computes, captured, kjt
from torch import nn

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.inspection.dag import draw_dag
from recpile.pycompiler.inspection.drawing import Arrow, Box, DrawingError, draw
from recpile.pycompiler.inspection.graph_view import MOST_DRAWN, draw_graph, nearest, operators, sources
from recpile.pycompiler.inspection.page import render_page
from recpile.pycompiler.inspection.stage_graph import describe_stages
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def described(program: Program) -> tuple[dict, dict[str, dict]]:
    """A split program -> (manifest, stage graphs)."""
    told = describe_stages(program)
    costs = {stage: one["cost"] for stage, one in told.items() if "cost" in one}
    return build_manifest(program, "1", {}, {}, costs), {stage: one["graph"] for stage, one in told.items()}


@pytest.fixture(scope="module")
def tiny_described() -> tuple[dict, dict[str, dict]]:
    model, schema = zoo.tiny_dlrm()
    program = captured(model, *schema.inputs)
    return described(run_passes(program, passes(TablePrecision("int8"), "fp32")))


class Page(HTMLParser):
    """Ids, links, tags and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.tags.add(tag)
        self.ids += [told["id"]] if "id" in told else []
        self.links += [told[one] for one in ("href", "src") if one in told]

    def handle_data(self, data):
        self.text += data


def test_a_stages_graph_says_operators_shapes_and_which_source_line_each_came_from(tiny_described):
    _, graphs = tiny_described
    graph = graphs["dense"]
    nodes = {node["name"]: node for node in graph["nodes"]}
    assert nodes["bmm"]["op"] == "aten.bmm.default"
    assert nodes["bmm"]["inputs"] == ["cat", "transpose"]
    assert nodes["bmm"]["outputs"] == [{"dtype": "fp32", "shape": ["candidate", 6, 6]}]
    assert nodes["squeeze"]["value"] == "dense/squeeze"
    frame = graph["frames"][nearest(graph, nodes["bmm"])]
    assert (frame["file"], frame["text"]) == ("torchrec/models/dlrm.py", "interactions = torch.bmm(")


def test_source_lines_are_the_models_not_the_compilers(tiny_described):
    _, graphs = tiny_described
    files = {frame["file"] for graph in graphs.values() for frame in graph["frames"]}
    assert "tests/zoo.py" in {file[-len("tests/zoo.py") :] for file in files}
    assert not any("pycompiler" in file or "eval_with_key" in file for file in files)


def test_an_operator_that_was_merged_is_shown_under_the_line_of_each_that_it_stands_for():
    frames = [{"file": f"{one}.py", "line": 1, "function": "forward", "text": one, "installed": False} for one in "ab"]
    node = {"name": "ab", "op": "recpile.x", "inputs": [], "source": [0], "more_sources": [[1]]}
    node["outputs"] = [{"dtype": "fp32", "shape": ["candidate"]}]
    graph = {"nodes": [node], "frames": frames}
    assert [(one.frame["text"], one.operators) for one in sources(graph)] == [("a", ("ab",)), ("b", ("ab",))]
    assert [frame["text"] for frame in operators(graph, "x")[0].frames] == ["a", "b"]


def test_the_dag_is_drawn_from_inputs_over_stages_to_outputs(tiny_described):
    manifest, _ = tiny_described
    svg = ElementTree.fromstring(draw_dag(manifest))
    boxes = {"".join(box.find("{*}text").itertext()): box for box in svg.iterfind("{*}g")}  # type: ignore[union-attr]
    kinds = [(name, box.get("class")) for name, box in boxes.items()]
    assert ("embedding", "box embedding") in kinds
    assert ("score", "box output") in kinds
    tips = ["".join(arrow.itertext()) for arrow in svg.iterfind("{*}path")]
    assert sorted(tips) == ["dense", "dense/squeeze", "embedding/pooled", "sparse.values\nsparse.lengths"]


@pytest.mark.proves("What the user sees", "inspect", "graph")
def test_the_page_has_a_section_for_each_stage_and_every_link_goes_somewhere(tiny_described):
    manifest, graphs = tiny_described
    page = Page(render_page(manifest, graphs, "tiny.pt2", 1000))
    assert [one for one in page.ids if one in ("stage-0", "stage-1")] == ["stage-0", "stage-1"]
    assert page.links
    assert {link for link in page.links if link.removeprefix("#") not in page.ids} == set()
    for part in ("aten.bmm.default", "torchrec/models/dlrm.py", "int8: 1,000 bytes", "embedding/pooled"):
        assert part in page.text


def test_the_page_needs_no_network(tiny_described):
    manifest, graphs = tiny_described
    html = render_page(manifest, graphs, "tiny.pt2", 1000)
    assert "default-src 'none'" in html
    assert "://" not in html.replace("http://www.w3.org/2000/svg", "")  # a namespace's name, which nothing fetches
    assert not {"link", "img", "iframe", "object"} & Page(html).tags


def test_names_are_shown_as_they_are_and_never_run():
    evil = "</title><script>alert(1)</script><evil>\x00'\"&"
    manifest, graphs = described(_one_table())
    manifest["model"]["name"] = manifest["tables"][0]["name"] = evil
    manifest["stages"][0]["features"][0]["table"] = manifest["inputs"][0]["name"] = evil
    manifest["passes"].append({"pass_name": evil, "did": True, "subject": evil, "reason": evil})
    frame = {"file": evil, "line": 1, "function": evil, "text": evil, "installed": False}
    graphs["embedding"]["frames"] = [frame] * len(graphs["embedding"]["frames"])
    page = Page(render_page(manifest, {"embedding": graphs["embedding"]}, evil, 1))
    assert "evil" not in page.tags
    assert page.text.count("<evil>") >= 8
    ElementTree.fromstring(draw_dag(manifest))


def test_a_model_of_thirty_stages_is_drawn_whole():
    boxes = [Box(str(i), (f"stage_{i}", "fp32"), "compiled") for i in range(30)]
    arrows = [Arrow(str(i), str(j)) for i in range(30) for j in (i + 1, i + 7) if j < 30]
    svg = ElementTree.fromstring(draw(boxes, arrows, "thirty"))
    assert len(svg.findall("{*}g")) == 30
    assert len(svg.findall("{*}path")) == len(arrows)
    _, _, width, height = (float(one) for one in svg.get("viewBox", "").split())
    for rect in svg.iterfind("{*}g/{*}rect"):
        x, y, w, h = (float(rect.get(one, "-1")) for one in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_a_long_name_is_shortened_in_its_box_and_whole_in_its_tooltip():
    name = "a_table_" + "with_a_very_long_name_" * 10
    svg = ElementTree.fromstring(draw([Box("1", (name,), "compiled")], [], "one"))
    assert name == "".join(svg.find("{*}g/{*}title").itertext())  # type: ignore[union-attr]
    assert len("".join(svg.find("{*}g/{*}text").itertext())) <= 44  # type: ignore[union-attr]


def test_a_graph_too_large_to_help_anyone_is_listed_instead_of_drawn():
    node = {"op": "aten.relu.default", "inputs": [], "outputs": [{"dtype": "fp32", "shape": [1]}], "source": []}
    graph = {"nodes": [{**node, "name": f"relu_{i}"} for i in range(MOST_DRAWN + 1)], "frames": []}
    assert draw_graph(graph, "stage-0") is None


@pytest.mark.proves("What the user sees", "inspect", "refusal")
@pytest.mark.proves("What the user sees", "inspect --svg and --html", "refusal")
def test_without_graphviz_the_error_says_what_to_install(tiny_described, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DrawingError, match="Graphviz's program `dot`, which is not on the PATH: install"):
        draw_dag(tiny_described[0])


def test_an_artifact_of_an_older_recpile_is_shown_without_graphs_and_costs(tiny_described):
    manifest, _ = tiny_described
    stages = [{key: value for key, value in stage.items() if key != "cost"} for stage in manifest["stages"]]
    page = Page(render_page({**manifest, "stages": stages}, {}, "old.pt2", 1))
    assert "stage-1" in page.ids
    assert "aten" not in page.text


def _one_table() -> Program:
    model = Computes(
        lambda m, sparse, x: torch.cat([m.bags(sparse).values(), m.layer(x)], dim=1),
        bags=zoo.collection(("t", 10, 4, ["f"])),
        layer=nn.Linear(2, 2),
    )
    return run_passes(captured(model, kjt("f"), Dense("x", (2,))), passes(TablePrecision(), "fp32"))
