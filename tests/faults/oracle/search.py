"""Tries every order of a few requests of one upload: slow and simple, to judge the checker by.

Time is the line of all beginnings and ends. Between two of them any number of steps may happen: a body becomes the
current one or brings a byte, the upload goes away, somebody looks. A request must have had its step when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.faults.oracle.checker import new_offset
from tests.faults.oracle.history import Event
from tests.faults.oracle.model import GONE, REFUSED


@dataclass(frozen=True)
class Moment:
    """One way how things may stand."""

    offset: int = 0
    gone: bool = False
    current: int | None = None
    """Whose body comes in."""
    entered: frozenset[int] = frozenset()
    done: frozenset[int] = frozenset()


def possible(events: Sequence[Event]) -> bool:
    """Return whether the answers of these requests, of which one is the creation, can come from a correct server."""
    if any(event.status == 204 and event.op == "patch" and not _fits(event) for event in events):
        return False
    points = [(event.start, 0, index) for index, event in enumerate(events)]
    points += [(event.end, 1, index) for index, event in enumerate(events) if not _lasts(event)]
    moments, running = {Moment()}, set[int]()
    for _, is_end, index in sorted(points):
        if is_end:
            moments = {
                each for each in _reach(moments, running, events) if not _must(events[index]) or index in each.done
            }
            running.discard(index)
            moments = {replace(each, current=None) if each.current == index else each for each in moments}
        else:
            running.add(index)
    return bool(_reach(moments, running, events))


def _reach(moments: set[Moment], running: set[int], events: Sequence[Event]) -> set[Moment]:
    reached, todo = set(moments), list(moments)
    while todo:
        now = todo.pop()
        for index in running:
            for then in _steps(now, index, events, running):
                if then not in reached:
                    reached.add(then)
                    todo.append(then)
    return reached


def _steps(now: Moment, index: int, events: Sequence[Event], running: set[int]) -> Iterator[Moment]:
    event = events[index]
    if event.status in GONE:
        if now.gone and index not in now.done:
            yield replace(now, done=now.done | {index})
    elif event.op == "delete":
        if not now.gone and _deletes(event):
            agreed = {each for each in running if events[each].op == "delete" and events[each].status == 204}
            yield replace(now, gone=True, current=None, done=now.done | agreed)
    elif now.gone:
        return
    elif _looks(event):
        if now.offset == new_offset(event) and index not in now.done:
            yield replace(now, done=now.done | {index})
    elif event.op == "patch":
        yield from _writes(now, index, event)


def _writes(now: Moment, index: int, event: Event) -> Iterator[Moment]:
    if event.status in REFUSED:
        return
    if now.offset == event.at and index not in now.entered:
        yield replace(now, current=index, entered=now.entered | {index})
    end = new_offset(event) if event.status == 204 else event.at + event.brought
    if now.current == index and now.offset < end:
        done = now.done | {index} if now.offset + 1 == end else now.done
        yield replace(now, offset=now.offset + 1, done=done)


def _lasts(event: Event) -> bool:
    """What failed on the side of a DELETE may still be done later."""
    return event.status is None or (event.op == "delete" and event.status >= 500)


def _fits(event: Event) -> bool:
    whole = event.at + event.brought
    return new_offset(event) == whole or (event.sent is not None and event.at <= new_offset(event) <= whole)


def _looks(event: Event) -> bool:
    nothing = event.op == "patch" and event.status == 204 and not event.brought
    return nothing or event.status == 409 or (event.op in ("head", "create") and event.status in (200, 201))


def _deletes(event: Event) -> bool:
    return event.status is None or event.status == 204 or event.status >= 500


def _must(event: Event) -> bool:
    """An answer that says something must have had its moment."""
    return event.status in GONE or event.status == 204 or _looks(event)
