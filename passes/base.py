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
    match that it declined with the reason, goes into the program's log.
    """

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def run(self, program: Program) -> PassResult: ...

    def did(self, subject: str, reason: str) -> Note:
        return Note(self.name, True, subject, reason)

    def declined(self, subject: str, reason: str) -> Note:
        return Note(self.name, False, subject, reason)


def run_passes(program: Program, passes: Sequence[Pass], before: Callable[[Pass], None] = lambda _: None) -> Program:
    """Runs `passes` in order. PassError names the pass that failed and those that ran before it."""
    done: list[str] = []
    verify(program)
    for one in passes:
        before(one)
        after = ", ".join(done) or "no other pass"
        try:
            program = one.run(program).program
        except Exception as error:
            raise PassError(f"pass {one.name} failed (after {after}): {error}") from error
        try:
            verify(program)
        except ValueError as error:
            raise PassError(f"pass {one.name} broke the program (after {after}): {error}") from error
        done.append(one.name)
    return program
