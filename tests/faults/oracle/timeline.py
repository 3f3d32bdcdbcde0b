"""Whether requests that ran at the same time can have led to the offsets that were seen.

The offset passes every number once. Each byte needs a moment in which it was stored: not before its request began,
not after it ended; after everybody who saw the offset in front of it began to look, before everybody who saw one behind
it had looked. Moments do not decrease with the bytes, so it is enough to take the earliest that is possible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Seen(NamedTuple):
    """The offset was this at some moment of [start, end]."""

    start: float
    end: float
    offset: int


class Writing(NamedTuple):
    """A body that came in within [start, end]: all of [at, upto) if sure, else any prefix of it."""

    start: float
    end: float
    at: int
    upto: int
    sure: bool


def first_unreachable(
    born: float, dies: float, seen: Sequence[Seen], writings: Sequence[Writing]
) -> int | None:  # fmt: skip
    """Return the first offset that no order of the writings leads to in time; None if there is none."""
    wanted = sorted({*(each.offset for each in seen), *(each.upto for each in writings if each.sure)})
    if not wanted:
        return None
    marks = {0, *wanted, *(mark for each in writings for mark in (each.at, each.upto))}
    stops = sorted(mark for mark in marks if 0 <= mark <= wanted[-1])
    after, before = _bounds(seen)
    entering: dict[int, list[Writing]] = {}
    for each in writings:
        entering.setdefault(each.at, []).append(each)
    moment = born
    active: list[tuple[float, Writing]] = []
    if moment > min(before.get(0, math.inf), dies):
        return 0
    for low, high in pairwise(stops):
        active += [(max(moment, each.start), each) for each in entering.get(low, ())]
        active = [(since, each) for since, each in active if each.upto > low]
        # While a body that was stored as a whole comes in, no other one does, and none that came before it goes on.
        active = [entry for entry in active if entry[1].sure] or active
        latest = min(before.get(high, math.inf), dies)
        moved = [(max(since, after.get(low, -math.inf)), each) for since, each in active]
        active = [(since, each) for since, each in moved if since <= min(each.end, latest)]
        if not active:
            return next(offset for offset in wanted if offset > low)
        moment = min(since for since, _ in active)
    return None


def _bounds(seen: Sequence[Seen]) -> tuple[dict[int, float], dict[int, float]]:
    """Return by offset: when it was left at the earliest, and when it was reached at the latest."""
    after: dict[int, float] = {}
    before: dict[int, float] = {}
    for each in seen:
        after[each.offset] = max(after.get(each.offset, -math.inf), each.start)
        before[each.offset] = min(before.get(each.offset, math.inf), each.end)
    return after, before
