"""What was known at the time of an event: sums and windows over an owner's events strictly before it.

Every feature that looks at ratings goes through here, so this is the one place that keeps the future out. Events of one
owner with equal timestamps do not see each other: in MovieLens half of all ratings share their second with another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recpile.models.examples import offsets_of
from recpile.models.ratings import IntArray


@dataclass(frozen=True)
class Timeline:
    """N events sorted by (owner, time, row); all arrays int64 [N].

    order: the row at each sorted position. first: the position of the owner's first event. now: the position of the
    owner's first event with the same timestamp; so the events strictly before are those at first .. now - 1.
    """

    order: IntArray
    first: IntArray
    now: IntArray

    def sum_before(self, amounts: np.ndarray, last: int | None = None) -> np.ndarray:
        """For each row, the sum of `amounts` [N] over the owner's events strictly before (or the last few).

        Returns float64 [N] in row order. Sums of whole numbers are exact.
        """
        running = np.concatenate([[0.0], np.cumsum(amounts[self.order], dtype=np.float64)])
        start = self.first if last is None else np.maximum(self.first, self.now - last)
        return self._to_rows(running[self.now] - running[start])

    def seconds_since(self, timestamp: IntArray, which: str) -> IntArray:
        """Seconds from the owner's "first" or "latest" event strictly before, to each row's; 0 where there is none."""
        times = timestamp[self.order]
        position = self.first if which == "first" else np.maximum(self.now - 1, 0)
        return self._to_rows(np.where(self.now > self.first, times - times[position], 0))

    def windows_before(self, chosen: np.ndarray, last: int) -> tuple[IntArray, IntArray, IntArray]:
        """The latest `last` events strictly before that are `chosen` (bool [N]), for each row.

        Returns (rows, starts, ends): row i's are rows[starts[i]:ends[i]], oldest first.
        """
        picked = chosen[self.order]
        count = offsets_of(picked.astype(np.int64))
        ends = count[self.now]
        starts = np.maximum(count[self.first], ends - last)
        return self.order[picked], self._to_rows(starts), self._to_rows(ends)

    def _to_rows(self, sorted_values: np.ndarray) -> np.ndarray:
        rows = np.empty_like(sorted_values)
        rows[self.order] = sorted_values
        return rows


def timeline(owner: IntArray, timestamp: IntArray) -> Timeline:
    """Sort N events by owner (a user or an item, int64 [N]) and time (seconds, int64 [N])."""
    order = np.lexsort((np.arange(len(owner)), timestamp, owner))
    owners, times = owner[order], timestamp[order]
    positions = np.arange(len(owner))
    new_owner = np.concatenate([[True], owners[1:] != owners[:-1]])
    new_time = new_owner | np.concatenate([[True], times[1:] != times[:-1]])
    first = np.maximum.accumulate(np.where(new_owner, positions, 0))
    now = np.maximum.accumulate(np.where(new_time, positions, 0))
    return Timeline(order, first, now)
