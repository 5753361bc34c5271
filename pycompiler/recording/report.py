"""What a replay measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recpile.pycompiler.recording.read import Recorded

PERCENTILES = (50, 90, 99, 99.9)


@dataclass
class Measured:
    """Grows while answers come in; times in seconds. `failures`: message -> how many requests that had been answered
    when they were recorded. `now_answered`: requests that had been refused."""

    tolerance: float
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    compared: int = 0
    differing: int = 0
    largest: float = 0.0
    refused_again: int = 0
    now_answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def answered(self, request: Recorded, outputs: Mapping[str, np.ndarray | None]) -> None:
        if request.status != "OK":
            self.now_answered += 1
            return
        apart = max((_apart(request, name, outputs.get(name)) for name in request.outputs), default=0.0)
        self.compared += 1
        # `not <=`, and in this order: NaN counts as a difference, and stays the largest.
        self.differing += not apart <= self.tolerance
        self.largest = apart if not apart <= self.largest else self.largest

    def failed(self, request: Recorded, message: str) -> None:
        if request.status == "OK":
            self.failures[message] += 1
        else:
            self.refused_again += 1

    @property
    def ok(self) -> bool:
        return not self.failures and not self.differing

    def as_dict(self) -> dict:
        """For `--json`: milliseconds for times."""
        sent = len(self.latencies)
        return {
            "requests": sent,
            "seconds": self.seconds,
            "requests_per_second": sent / self.seconds if self.seconds else 0.0,
            "latency_ms": _percentiles(self.latencies),
            "sent_late_ms": _percentiles(self.late),
            "compared": self.compared,
            "tolerance": self.tolerance,
            "above_tolerance": self.differing,
            "largest_difference": self.largest,
            "refused_again": self.refused_again,
            "now_answered": self.now_answered,
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures.most_common()),
        }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    values = np.percentile(seconds, PERCENTILES) * 1e3
    named = {f"p{at:g}": float(value) for at, value in zip(PERCENTILES, values, strict=True)}
    return {**named, "max": float(max(seconds)) * 1e3}


def _apart(request: Recorded, name: str, got: np.ndarray | None) -> float:
    """Largest absolute difference, infinite if the shapes differ, NaN if any is."""
    wanted = request.outputs[name].values
    if got is not None and request.partial_ok:  # either answer may lack its last candidates
        wanted, got = wanted[: len(got)], got[: len(wanted)]
    if got is None or got.shape != wanted.shape:
        return float("inf")
    apart = np.abs(wanted.astype(np.float64) - got.astype(np.float64))
    return float(apart.max()) if apart.size else 0.0
