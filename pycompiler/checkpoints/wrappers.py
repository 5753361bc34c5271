"""Names that training wrappers leave in a checkpoint, and whole prefixes that one side has and the other has not."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# DataParallel and DDP; torch.compile; TorchRec's DistributedModelParallel; FSDP; activation checkpointing. They may
# stand at any depth: a compiled tower inside a DDP model.
WRAPPERS = (
    "module",
    "_orig_mod",
    "_dmp_wrapped_module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_orig_module",
)
_ASKED = 8  # names from which a common prefix is guessed


def unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def wrapper_of(name: str) -> str:
    return ", ".join(dict.fromkeys(part for part in name.split(".") if part in WRAPPERS))


def by_unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names without their wrappers -> names; those that would coincide are left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(unwrapped(name), []).append(name)
    return {short: full[0] for short, full in found.items() if len(full) == 1}


def prefix_hint(left_over: Collection[str], missing: Collection[str]) -> str | None:
    """A rule that would make names meet, if they differ by one prefix: the checkpoint's, or the model's."""
    if len(missing) < 2:
        return None
    prefix = _prefix(missing, left_over)
    if prefix:
        return f"the checkpoint's names begin with '{prefix}': a rule `glob: '{prefix}**'`, `to: '{{1}}'`"
    prefix = _prefix(left_over, missing)
    if prefix:
        return f"the model's names begin with '{prefix}': a rule `glob: '**'`, `to: '{prefix}{{1}}'`"
    return None


def _prefix(short: Collection[str], long: Collection[str]) -> str | None:
    """The p for which p + name is in `long` for at least two and half of `short`."""
    some = list(short)[:_ASKED]
    ends = {name.removesuffix(one) for name in long for one in some if name.endswith(f".{one}")}
    held = set(long)
    fits = {p: sum(p + name in held for name in short) for p in ends}
    best = max(fits, key=lambda p: fits[p], default=None)
    return best if best and fits[best] >= max(2, len(short) / 2) else None
