"""What is left of a log after a power cut: everything below the offset that the upload fell back to."""

from __future__ import annotations

import math

from tests.faults.oracle.checker import check
from tests.faults.oracle.history import Event
from tests.faults.oracle.payload import payload
from tests.faults.oracle.rollback import cut_back

CREATED = Event(op="create", upload="u", start=0, end=1, status=201, length=300)
WON = Event(op="patch", upload="u", start=2, end=3, status=204, writer=1, at=0, size=100, offset=100)
BROKEN = Event(op="patch", upload="u", start=4, end=math.inf, writer=2, at=100, size=200)
SHOWN = Event(op="head", upload="u", start=6, end=7, status=200, offset=150)
CUT = 10.0


def after(offset: int) -> list[Event]:
    """Everything before the cut, and what HEAD showed after it."""
    head = Event(op="head", upload="u", start=11, end=12, status=200, offset=offset)
    return [*cut_back([CREATED, WON, BROKEN, SHOWN], CUT, offset), head]


def test_less_than_before_is_no_violation() -> None:
    """Levels that promise less are not accused of what they take back (I3)."""
    for offset in (0, 60, 100, 120):
        log = after(offset)
        assert [] == check(log, (payload("u", 1, 0, 100) + payload("u", 2, 100, 300))[:offset])


def test_what_is_left_must_be_right() -> None:
    """Zeros, and bytes that nobody sent, are found below the offset (I7)."""
    assert ["zeros"] == [each.kind for each in check(after(60), bytes(60))]
    assert ["corrupt"] == [each.kind for each in check(after(60), payload("u", 3, 0, 60))]


def test_nobody_gains_by_a_cut() -> None:
    """An offset beyond everything that was sent is wrong after a cut too."""
    log = [*cut_back([CREATED, WON], CUT, 200), Event(op="head", upload="u", start=11, end=12, status=200, offset=200)]
    assert ["corrupt"] == [each.kind for each in check(log)]


def test_what_came_later_stays() -> None:
    """The same place may be written again, by somebody else (I4)."""
    again = Event(op="patch", upload="u", start=13, end=14, status=204, writer=3, at=60, size=240, offset=300)
    log = [*after(60), again]
    assert [] == check(log, payload("u", 1, 0, 60) + payload("u", 3, 60, 300))
    assert log == cut_back(log, CUT, 60)
    assert ["corrupt"] == [each.kind for each in check(log, payload("u", 1, 0, 100) + payload("u", 3, 100, 300))]
