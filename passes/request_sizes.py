"""What torch.export asserts of sizes that nothing has any more, once ids are looked up once a request."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from recpile.passes.branches import is_size
from recpile.pycompiler.request_axis import REPEAT_BAGS

aten = torch.ops.aten
_ASSERTIONS = (
    aten._assert_scalar.default,
    aten.sym_constrain_range_for_size.default,
    aten.sym_constrain_range.default,
    aten._assert_tensor_metadata.default,
)


def forget_sizes(module: GraphModule) -> None:
    """Drops what torch.export asserts of the sizes of repeated ids: nothing has these sizes any more."""
    of_ids: set[Node] = set()
    for node in module.graph.nodes:
        read = node.all_input_nodes
        if any(one.target is REPEAT_BAGS or one in of_ids for one in read) and is_size(node):
            of_ids.add(node)
    for node in list(module.graph.nodes):
        if node.target in _ASSERTIONS and any(
            one in of_ids or one.target is REPEAT_BAGS for one in node.all_input_nodes
        ):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
