"""The pass contract, and the loop that runs passes and verifies the program after each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recpile.passes.invariants import verify
from recpile.pycompiler.program import Note, Program


class PassError(RuntimeError):
    """A pass that raised, or that left a program which breaks an invariant."""


@dataclass(frozen=True)
class PassResult:
    """The program after a pass, and whether the pass changed its graph, tables or stages."""

    program: Program
    changed: bool


class Pass(ABC):
    """Program -> Program: one class in one file, its docstring showing before -> after.

    A pass never edits the program it is given; running it on its own result changes nothing. What it did, and each
    match that it declined with the reason, goes into the program's log. A pass that changes answers on purpose says
    `exact = False`; every other one is checked against the program before it (pycompiler/exactness.py).
    """

    exact: bool = True

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def run(self, program: Program) -> PassResult: ...

    def did(self, subject: str, reason: str) -> Note:
        return Note(self.name, True, subject, reason)

    def declined(self, subject: str, reason: str) -> Note:
        return Note(self.name, False, subject, reason)


def run_passes(
    program: Program,
    passes: Sequence[Pass],
    before: Callable[[Pass], None] = lambda _: None,
    after: Callable[[Pass, Program], None] = lambda _, __: None,
) -> Program:
    """Runs `passes` in order. PassError names the pass that failed and those that ran before it.

    `before` hears of each pass as it begins, `after` gets the verified program that it made.
    """
    done: list[str] = []
    verify(program)
    for one in passes:
        before(one)
        earlier = ", ".join(done) or "no other pass"
        try:
            result = one.run(program)
            if not isinstance(result, PassResult):
                raise TypeError(f"run() returned {type(result).__name__}; return PassResult(program, changed)")
            program = result.program
        except Exception as error:
            raise PassError(f"pass {one.name} failed (after {earlier}): {error}") from error
        try:
            verify(program)
        except ValueError as error:
            raise PassError(f"pass {one.name} broke the program (after {earlier}): {error}") from error
        done.append(one.name)
        after(one, program)
    return program
