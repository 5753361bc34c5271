"""One run of an artifact, operator by operator, with everything that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from torch import Tensor

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.debugging.checks import ValueCheck
from recpile.pycompiler.debugging.dumps import FORMATS, Difference, DumpComparer, DumpWriter
from recpile.pycompiler.debugging.operators import OperatorCall, OperatorHook


def open_debugger(call: OperatorCall) -> None:
    """The breakpoint that is taken if none is given: Python's debugger, with the operator at hand as `call`."""
    print(f"at {call}; its tensors: call.inputs, call.outputs")
    breakpoint()


@dataclass(frozen=True)
class DebugOptions:
    """What to do at each operator. Globs are matched with "stage/name", name and operator ("aten.linear.default").

    `only`: operators that are dumped, compared and checked (None: all). `dump`: a folder to write what they give to.
    `compare`: a folder that `dump` wrote. `check`: what values must be. `break_at`: operators after which `at_break` is
    called. `repeat`: runs that times are the median of; everything else happens in the first.
    """

    only: tuple[str, ...] | None = None
    dump: Path | None = None
    dump_format: str = "npz"
    compare: Path | None = None
    check: ValueCheck | None = None
    break_at: tuple[str, ...] = ()
    at_break: Callable[[OperatorCall], None] = open_debugger
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.dump_format not in FORMATS:
            raise ValueError(f"dump format: got '{self.dump_format}'; use one of {', '.join(FORMATS)}")
        if self.repeat < 1:
            raise ValueError(f"repeat: got {self.repeat}; use 1 or more")


@dataclass(frozen=True)
class Timed:
    """An operator and its median time in seconds."""

    call: OperatorCall
    seconds: float


@dataclass(frozen=True)
class DebugReport:
    """`times`: slowest first. `differences`: in the order in which the operators ran; `unknown`: those that the other
    run did not have."""

    outputs: Mapping[str, Tensor]
    times: tuple[Timed, ...]
    differences: tuple[Difference, ...] = ()
    unknown: tuple[OperatorCall, ...] = ()


def debug(
    runtime: DebugRuntime, inputs: Mapping[str, Tensor | np.ndarray], options: DebugOptions = DebugOptions()
) -> DebugReport:
    """Runs `inputs` through `runtime` (of exported stages, code="exported"). OperatorFault if a check fails, ValueError
    if a glob matches no operator or a folder is wrong; a dump is then not written."""
    seen: list[OperatorCall] = []
    with ExitStack() as opened:
        comparer = DumpComparer(options.compare) if options.compare else None
        writer = opened.enter_context(DumpWriter(options.dump, options.dump_format)) if options.dump else None
        # The dump first: a check that fails is then looked into with what was dumped up to there.
        hooks: list[OperatorHook] = [one for one in (writer, comparer, options.check) if one is not None]

        def show(call: OperatorCall) -> None:
            seen.append(call)
            if options.only is None or matches(call, options.only):
                for hook in hooks:
                    hook(call)
            if matches(call, options.break_at):
                options.at_break(call)

        outputs = runtime.run(inputs, operators=show)
        for glob in (*(options.only or ()), *options.break_at):
            if not any(matches(call, (glob,)) for call in seen):
                some = ", ".join(call.path for call in seen[:5])
                raise ValueError(f"'{glob}' matches no operator; there are {some}, … ({len(seen)})")
    times = [[call.seconds] for call in seen]
    for _ in range(options.repeat - 1):
        again = iter(times)
        runtime.run(inputs, operators=lambda call, again=again: next(again).append(call.seconds))
    timed = [Timed(call, float(np.median(one))) for call, one in zip(seen, times, strict=True)]
    timed.sort(key=lambda one: -one.seconds)
    if comparer is None:
        return DebugReport(outputs, tuple(timed))
    return DebugReport(outputs, tuple(timed), tuple(comparer.differences), tuple(comparer.unknown))


def matches(call: OperatorCall, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs for text in (call.path, call.name, call.operator))
