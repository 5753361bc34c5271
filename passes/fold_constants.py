"""FoldConstants: what only weights and constants go into is computed at export."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import attribute, editable, recaptured
from recpile.passes.rewrite import add_weight, constants, drop_weights, evaluate
from recpile.pycompiler.program import Program

_GROWTH = 1 << 20


class FoldConstants(Pass):
    """A subgraph without inputs becomes one weight, unless the artifact would grow by more than `growth` bytes for it.

    before:  w = weight_v * (weight_g / norm(weight_v));  scale = arange(8) / full([8], 8.0);  linear(x * scale, w)
    after:   linear(x * folded_1, folded)

    A bare arange or full is left: AOTInductor writes its values into the code. So is a view of a weight that others
    read: it costs nothing. Tables are not folded: lookups read them, and they are packed later.
    """

    def __init__(self, growth: int = _GROWTH) -> None:
        if growth < 0:
            raise ValueError(f"growth: got {growth} bytes; use 0 or more")
        self.growth = growth

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        known = constants(module, without=program.tables)
        weights = [node for node in known if node.op == "get_attr"]
        freed = {node: _freed_by(node, weights, known) for node in _ends(known)}
        values: dict[Node, object] = {}
        notes, changed = [], False
        for node, free in freed.items():
            size = _bytes(node)
            if size > free + self.growth:
                reason = f"would be {size:,} bytes, over {self.growth:,} more than the {free:,} it frees"
                notes.append(self.declined(node.name, reason))
                continue
            value = evaluate(module, node, values)
            if size > free and any(_share_memory(value, attribute(module, str(one.target))) for one in weights):
                notes.append(self.declined(node.name, "is a view of a weight that others read too"))
                continue
            node.replace_all_uses_with(add_weight(module, node, "folded", value.contiguous().clone()))
            notes.append(self.did(node.name, f"{node.target} is {size:,} bytes, and frees {free:,}"))
            changed = True
        if not changed:
            return PassResult(program.with_notes(*notes), changed=False)
        drop_weights(module, {str(node.target) for node in weights})
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _ends(known: Collection[Node]) -> list[Node]:
    """The constants that something else reads, but for weights and for what is written down without reading any."""
    ends = [node for node in known if any(user not in known for user in node.users)]
    return [node for node in ends if node.all_input_nodes and isinstance(node.meta["val"], Tensor)]


def _freed_by(end: Node, weights: list[Node], known: Collection[Node]) -> int:
    """The bytes of the weights that are read for `end` only."""
    return sum(_bytes(one) for one in weights if _lead_to(one, known) == {end})


def _lead_to(node: Node, known: Collection[Node]) -> set[Node]:
    """The last constants on the ways that begin at `node`."""
    found: set[Node] = set()
    seen: set[Node] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if any(user not in known for user in one.users):
            found.add(one)
        waiting.extend(user for user in one.users if user in known)
    return found


def _bytes(node: Node) -> int:
    value = node.meta["val"]
    return value.numel() * value.element_size()


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
