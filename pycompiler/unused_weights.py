"""Which weights of a model its outputs do not depend on: those of a dropped auxiliary head, say."""

from __future__ import annotations

from torch import nn

from recpile.pycompiler.capture import capture
from recpile.pycompiler.schema import InputSchema

_PREFIX = "model."  # where a captured graph has the model's weights


def unused_weights(model: nn.Module, schema: InputSchema) -> set[str]:
    """The names in `model.state_dict()` that no output of the schema reads, by capturing the model with its weights as
    they are. Raises as `capture` does."""
    program = capture(model, schema, "unused_weights")
    exported = program.graph
    exported.graph.eliminate_dead_code()
    signature = exported.graph_signature
    read = {node.name for node in exported.graph.nodes if node.op == "placeholder" and node.users}
    inputs = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    used = {full for placeholder, full in inputs.items() if placeholder in read}
    # By address as well: a weight that hangs in the model under several names has one of them in the graph.
    held = {**exported.state_dict, **exported.constants}
    places = {held[full].data_ptr() for full in used}
    return {
        name
        for name, value in model.state_dict().items()
        if _PREFIX + name not in used and value.data_ptr() not in places
    }
