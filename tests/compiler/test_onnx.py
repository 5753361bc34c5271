"""A model as ONNX, run in onnxruntime: what it computes, what is refused, and what is written then."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import zoo
from compiler.graphs import Computes, captured, draw, kjt
from torch import Tensor, nn

from recpile.pycompiler.cli.onnx import check_option
from recpile.pycompiler.onnx.export import OnnxExport, export_onnx
from recpile.pycompiler.onnx.write import OnnxError, Sample, write
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import eager
from recpile.pycompiler.schema import Dense, InputSchema, TensorSpec


def inputs(schema: InputSchema) -> list[dict[str, Tensor]]:
    """Several batch sizes, each with bags of 0 to 3 ids and once with every bag empty."""
    return [draw(schema, batch, ids=5, longest=longest, seed=batch) for batch in (1, 2, 17) for longest in (3, 0)]


def exported(model: nn.Module, program: Program, folder: Path, stages: bool = False) -> OnnxExport:
    return export_onnx(model, program, folder / "model.onnx", inputs(program.schema), stages)


@pytest.mark.proves("What the user sees", "export --onnx", "graph")
@pytest.mark.parametrize("name", ["two_sources", "mixed_pooling"])
def test_a_whole_model_computes_in_onnxruntime_what_eager_computes(name, tmp_path):
    model, schema = getattr(zoo, name)()
    done = exported(model, captured(model, *schema.inputs, outputs=schema.outputs), tmp_path)
    assert done.problems == ()
    assert [(one.path.name, one.holds) for one in done.files] == [("model.onnx", "the whole model")]
    assert done.files[0].difference < 1e-6

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    flat = draw(schema, 5)  # a batch size that the export has not tried
    got = session.run(list(schema.outputs), {one.name: flat[one.name].numpy() for one in session.get_inputs()})
    for mine, wanted in zip(got, eager(model, schema, flat), strict=True):
        torch.testing.assert_close(torch.as_tensor(mine), wanted, atol=1e-6, rtol=1e-6)


def test_beside_the_whole_model_each_dense_stage_has_its_own_file(tmp_path):
    model, schema = zoo.hashed_ids()
    done = exported(model, captured(model, *schema.inputs), tmp_path, stages=True)
    assert done.problems == ()
    written = ["model.onnx", "model-dense_0.onnx", "model-dense_1.onnx"]
    assert [one.path.name for one in done.files] == written
    assert max(one.difference for one in done.files) < 1e-6
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)


def test_only_operators_of_onnx_are_in_the_file_and_sizes_bear_the_schemas_names(tmp_path):
    model, schema = zoo.hashed_ids()
    exported(model, captured(model, *schema.inputs), tmp_path)
    written = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(written, full_check=True)
    assert [(one.domain, one.version) for one in written.opset_import] == [("", 18)]
    assert {node.domain for node in written.graph.node} == {""}
    assert not {"Loop", "Scan", "If"} & {node.op_type for node in written.graph.node}
    shapes = {one.name: [size.dim_param for size in one.type.tensor_type.shape.dim] for one in written.graph.input}
    assert shapes == {"price": ["candidate"], "ids.values": ["ids.nnz"], "ids.lengths": ["candidate"]}


def _zeta() -> tuple[nn.Module, Program]:
    """An operator that ONNX has not, behind the lookup; a stage in front of the lookup that ONNX can say."""

    def forward(m, sparse, x):
        pooled = m.bags(sparse).values()
        return torch.special.zeta(x + 2.0, pooled.sum(1).abs() + 1.0)

    model = Computes(forward, bags=zoo.collection(("t", 5, 4, ["f"])))
    return model, captured(model, kjt("f"), Dense("x"))


@pytest.mark.proves("What the user sees", "export --onnx", "refusal")
def test_an_operator_that_onnx_lacks_is_named_with_its_source_line(tmp_path):
    done = exported(*_zeta(), tmp_path)
    assert done.files == ()
    assert len(done.problems) == 2  # the whole, and its one dense stage
    assert done.problems[0].startswith("the whole model: ONNX has no prims.zeta.default ('zeta') at ")
    assert "test_onnx.py:" in done.problems[0]
    assert done.problems[0].endswith("return torch.special.zeta(x + 2.0, pooled.sum(1).abs() + 1.0)")
    assert list(tmp_path.iterdir()) == []


def test_where_the_whole_cannot_be_said_each_dense_stage_that_can_has_its_own_file(tmp_path):
    hashed, schema = zoo.hashed_ids()

    class Scored(type(hashed)):
        def forward(self, price, ids):
            return torch.special.zeta(super().forward(price, ids) + 2.0, torch.ones_like(price))

    model = hashed
    model.__class__ = Scored
    done = exported(model, captured(model, *schema.inputs), tmp_path)
    assert [(one.path.name, one.holds) for one in done.files] == [("model-dense_0.onnx", "stage dense_0")]
    assert [problem.partition(":")[0] for problem in done.problems] == ["the whole model", "stage dense_1"]
    session = onnxruntime.InferenceSession(tmp_path / "model-dense_0.onnx")
    flat = draw(schema, 4)
    hashes, lengths = session.run(None, {one.name: flat[one.name].numpy() for one in session.get_inputs()})
    assert torch.as_tensor(hashes).tolist() == ((flat["ids.values"] * 2654435761) % 31).tolist()
    assert torch.as_tensor(lengths).tolist() == [flat["ids.lengths"].tolist()]


def test_a_file_that_computes_something_else_is_not_written(tmp_path):
    model = Computes(lambda m, x: m.layer(x).squeeze(1), layer=nn.Linear(2, 1))
    program = captured(model, Dense("x", (2,)))
    wrong = [Sample({"x": torch.ones(3, 2)}, [torch.full((3,), 100.0)])]
    spec = TensorSpec("score", torch.float32, ("candidate",))
    with pytest.raises(OnnxError, match="output 'score' differs from the model by"):
        write(program.graph, program.schema.tensors(), [spec], tmp_path / "model.onnx", wrong)
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_a_file_go_into_one_beside_it(tmp_path, monkeypatch):
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 1000)  # in place of 1.5 GiB
    model = Computes(lambda m, x: m.layer(x), layer=nn.Linear(40, 40))
    exported(model, captured(model, Dense("x", (40,))), tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert (tmp_path / "model.onnx.data").stat().st_size >= 4 * 40 * 40
    onnxruntime.InferenceSession(tmp_path / "model.onnx")


def test_the_option_is_checked_before_the_export_begins(monkeypatch):
    with pytest.raises(ValueError, match=r"got 'model\.pt'; use a file name that ends in \.onnx"):
        check_option("model.pt")
    monkeypatch.setattr("recpile.pycompiler.cli.onnx.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs onnx, onnxscript, onnxruntime, not installed here; pip install"):
        check_option("model.onnx")
