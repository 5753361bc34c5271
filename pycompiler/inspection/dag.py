"""The DAG of an artifact's stages as boxes and arrows: inputs, embedding stages, compiled stages, outputs."""

from __future__ import annotations

from recpile.pycompiler.inspection import words
from recpile.pycompiler.inspection.drawing import Arrow, Box, draw
from recpile.pycompiler.inspection.lookup_cost import lookup_cost


def draw_dag(manifest: dict, linked: bool = False) -> str:
    """The <svg> of `manifest`'s DAG. `linked`: inside the page, where a click on a stage goes to its section."""
    boxes = [Box(f"input {one['name']}", (one["name"], _input(one)), "input") for one in manifest["inputs"]]
    boxes += [
        Box(f"stage {stage['name']}", (stage["name"], *_stage(manifest, stage)), stage["kind"], _link(i, linked))
        for i, stage in enumerate(manifest["stages"])
    ]
    boxes += [Box(f"output {one['name']}", (one["name"], words.shape(one)), "output") for one in manifest["outputs"]]
    label = f"The stages of {manifest['model']['name']}: {len(manifest['stages'])}, between its inputs and outputs"
    return draw(boxes, _arrows(manifest), label, alone=not linked)


def givers(manifest: dict) -> dict[str, str]:
    """Value name -> "input <name>" or "stage <name>": who gives it."""
    given = {tensor["name"]: f"input {one['name']}" for one in manifest["inputs"] for tensor in one["tensors"]}
    for stage in manifest["stages"]:
        given |= {output["name"]: f"stage {stage['name']}" for output in stage["outputs"]}
    return given


def stage_anchor(index: int) -> str:
    """The page's id for stage number `index`: names come from users, ids do not."""
    return f"stage-{index}"


def _arrows(manifest: dict) -> list[Arrow]:
    given = givers(manifest)
    values: dict[tuple[str, str], list[str]] = {}
    for stage in manifest["stages"]:
        for value in stage["inputs"]:
            if value in given:  # one that the runtime supplies comes from no box
                values.setdefault((given[value], f"stage {stage['name']}"), []).append(value)
    for output in manifest["outputs"]:
        values.setdefault((given[output["value"]], f"output {output['name']}"), []).append(output["value"])
    return [Arrow(tail, head, "\n".join(names)) for (tail, head), names in values.items()]


def _input(one: dict) -> str:
    kind = one["kind"].replace("_", " ")
    if one["kind"] == "dense":
        return words.shape(one["tensors"][0])
    return f"{kind}, {len(one['keys'])} keys" if "keys" in one else kind


def _stage(manifest: dict, stage: dict) -> tuple[str, ...]:
    if stage["kind"] == "embedding":
        cost = lookup_cost(manifest, stage)
        types = ", ".join(dict.fromkeys(read.table["dtype"] for read in cost.tables))
        size = words.number(sum(read.bytes for read in cost.tables))
        tables = f"{words.count(len(cost.tables), 'table')}, {words.count(len(stage['features']), 'feature')}"
        return (tables, f"{size} bytes, {types}, {stage['pooling']}")
    flops = words.per_row(stage["cost"]["flops"]) if "cost" in stage else "?"
    return (words.precision(stage), f"FLOPs: {flops}")


def _link(index: int, linked: bool) -> str:
    return f"#{stage_anchor(index)}" if linked else ""
