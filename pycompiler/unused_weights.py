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
    held = {**exported.state_dict, **exported.constants}
    lifted = set(inputs.values())
    # By address as well: a weight that hangs in the model under several names has one of them in the graph.
    places = {held[full].data_ptr() for full in lifted}
    used_places = {held[full].data_ptr() for full in used}

    def unused(full: str, place: int) -> bool:
        # What the graph does not have at all was swapped for something made of it: that counts as read.
        return (full in lifted or place in places) and full not in used and place not in used_places

    return {name for name, value in model.state_dict().items() if unused(_PREFIX + name, value.data_ptr())}
