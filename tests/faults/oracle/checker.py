"""Judges what clients saw of one upload: a number that only grows, and bytes that somebody sent (I3, I4, I5, I12).

`check` first looks for what has a name, in O(n log n), then asks `timeline` whether anything could have led to the
answers at all. `tests/faults/oracle/search.py` tries everything instead, for small histories; both must agree.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from tests.faults.oracle.history import Event
from tests.faults.oracle.model import GONE, REFUSED
from tests.faults.oracle.payload import ZEROS, agreement, describe
from tests.faults.oracle.timeline import Seen, Writing, first_unreachable

Kind = Literal["lost", "corrupt", "zeros", "regression", "overlap", "undead", "job_missing", "job_twice", "job_early"]


@dataclass(frozen=True)
class Violation:
    """One promise that was broken."""

    kind: Kind
    upload: str
    sentence: str


class Job(NamedTuple):
    """One attempt of a job as the job itself logged it."""

    upload: str
    event_id: str
    attempt: int


class Facts:
    """The events of one upload, sorted by what they prove."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.upload = events[0].upload if events else ""
        self.events = sorted(events, key=lambda event: event.start)
        self.length = next((e.length for e in self.events if e.length is not None and e.status in (201, 204)), None)
        self.winners = sorted((e for e in self.events if _won(e)), key=lambda event: (event.at, event.start))
        self.maybe = [e for e in self.events if _may_have_stored(e)]
        self.views = [e for e in self.events if e.offset is not None and _is_view(e)]
        self.deletes = [_lasting(e) for e in self.events if e.op in ("delete", "expire") and _may_have_deleted(e)]
        self.gone = [e for e in self.events if e.status in GONE and (e.op != "get" or self._finished_before(e))]
        self.alive = [*self.winners, *self.views, *(e for e in self.deletes if e.status is not None)]
        self.alive += [e for e in self.events if e.op == "create" and e.status == 201]

    @property
    def finished(self) -> bool:
        """Somebody was told that the upload is complete."""
        return self.length is not None and any(new_offset(e) == self.length for e in (*self.winners, *self.views))

    def _finished_before(self, event: Event) -> bool:
        known = (e for e in (*self.winners, *self.views) if e.end < event.start)
        return self.length is not None and any(new_offset(e) == self.length for e in known)


def new_offset(event: Event) -> int:
    """Return the offset that an answer acknowledges or shows."""
    return event.at + event.brought if event.offset is None else event.offset


def check(events: Sequence[Event], final: bytes | None = None, others: Sequence[Event] = ()) -> list[Violation]:
    """Return what was broken for one upload; `final` is what is stored in the end, `others` wrote other uploads."""
    if not events:
        return []
    facts = Facts(events)
    found = [*_regressions(facts), *_overlaps(facts), *_wrong_answers(facts), *_undead(facts), *_changed(facts)]
    if not found:
        found = list(_impossible(facts))
    if final is not None:
        found += _content(facts, final, others)
    return [Violation(kind, facts.upload, sentence) for kind, sentence in found]


def check_jobs(finished: Iterable[str], jobs: Sequence[Job]) -> list[Violation]:
    """Return which finished uploads have no job, and which have jobs of more than one event (I14)."""
    ids: dict[str, set[str]] = {}
    for job in jobs:
        ids.setdefault(job.upload, set()).add(job.event_id)
    missing = [Violation("job_missing", upload, "finished, but no job ran") for upload in finished if upload not in ids]
    twice = [
        Violation("job_twice", upload, f"jobs ran for {len(events)} events: {', '.join(sorted(events))}")
        for upload, events in ids.items()
        if len(events) > 1
    ]
    return missing + twice


Named = tuple[Kind, str]


def _regressions(facts: Facts) -> Iterable[Named]:
    """I3: nobody sees less than what was acknowledged (lost) or shown (regression) before they asked."""
    for kind, word, known in (("lost", "acknowledged", facts.winners), ("regression", "shown", facts.views)):
        highest = _Highest(known)
        for event in facts.views:
            if (before := highest.before(event.start)) is not None and new_offset(before) > new_offset(event):
                yield (
                    "lost" if kind == "lost" else "regression",
                    f"{_name(event)} shows offset {new_offset(event)} after {_name(before)} had {word} "
                    f"{new_offset(before)}",
                )


class _Highest:
    """The highest offset known before a moment."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._ends: list[float] = []
        self._best: list[Event] = []
        for event in sorted(events, key=lambda event: event.end):
            best = self._best[-1] if self._best else event
            self._ends.append(event.end)
            self._best.append(max(best, event, key=new_offset))

    def before(self, moment: float) -> Event | None:
        index = bisect.bisect_left(self._ends, moment)
        return self._best[index - 1] if index else None


def _overlaps(facts: Facts) -> Iterable[Named]:
    """I4: what one request won belongs to no other."""
    widest: Event | None = None
    for event in (each for each in facts.winners if each.brought):
        if widest is not None and event.at < new_offset(widest):
            yield (
                "overlap",
                f"{_name(event)} and {_name(widest)} were both acknowledged, "
                f"for bytes from {event.at} to {min(new_offset(event), new_offset(widest)) - 1}",
            )
        if widest is None or new_offset(event) > new_offset(widest):
            widest = event
    highest = _Highest([*facts.winners, *facts.views])
    for event in facts.winners:
        if (before := highest.before(event.start)) is not None and event.at < new_offset(before):
            yield "overlap", f"{_name(event)} was accepted below offset {new_offset(before)} of {_name(before)}"


def _wrong_answers(facts: Facts) -> Iterable[Named]:
    for event in facts.winners:
        whole = event.at + event.brought
        if event.op == "patch" and event.sent is None and new_offset(event) < whole:
            yield "lost", f"{_name(event)} was acknowledged with offset {event.offset} instead of {whole}"
        elif new_offset(event) > whole or new_offset(event) < event.at:
            yield "corrupt", f"{_name(event)} was acknowledged with offset {event.offset}, but its bytes end at {whole}"
    for event in facts.views:
        if facts.length is not None and new_offset(event) > facts.length:
            yield "corrupt", f"{_name(event)} shows offset {event.offset} of an upload of {facts.length} bytes"


def _undead(facts: Facts) -> Iterable[Named]:
    """I12: after the answer to DELETE there is nothing, and without a DELETE there is something."""
    begun = min((e.start for e in facts.deletes), default=math.inf)
    for event in facts.gone:
        if event.end < begun:
            yield "lost", f"{_name(event)} was answered {event.status}, but nobody had deleted the upload"
    known = [e for e in facts.deletes if e.status is not None]
    first = min((*known, *facts.gone), key=lambda event: event.end, default=None)
    for event in facts.alive:
        if first is not None and event.start > first.end:
            yield "undead", f"{_name(event)} was answered {event.status} after {_name(first)} ({first.status})"


def _changed(facts: Facts) -> Iterable[Named]:
    """I6: all downloads of a finished upload are the same."""
    bodies = {e.note for e in facts.events if e.op == "get" and e.status == 200 and e.offset == facts.length and e.note}
    if len(bodies) > 1:
        yield "corrupt", f"{len(bodies)} downloads of the finished upload differ"


def _impossible(facts: Facts) -> Iterable[Named]:
    """No order of the requests leads to these answers."""
    seen = [Seen(e.start, e.end, new_offset(e)) for e in facts.views]
    seen += [Seen(e.start, e.end, e.at) for e in facts.winners if not e.brought]
    sure = [Writing(e.start, e.end, e.at, new_offset(e), sure=True) for e in facts.winners if e.brought]
    tried = [Writing(e.start, e.end, e.at, e.at + e.brought, sure=False) for e in facts.maybe if e.brought]
    born = min((e.start for e in facts.events if e.op == "create"), default=-math.inf)
    if (offset := first_unreachable(born, math.inf, seen, [*sure, *tried])) is not None:
        yield "corrupt", f"offset {offset} was shown or acknowledged, but no requests can have led to it by then"
        return
    dies = _death(facts)
    if dies is None:
        yield "undead", "no moment of a DELETE fits to what was answered before and after it"
    elif first_unreachable(born, dies, seen, [*sure, *tried]) is not None:
        yield "undead", "the offset grew after the upload was deleted"


def _death(facts: Facts) -> float | None:
    """Return the latest moment at which the upload may have gone; None if there is none."""
    earliest = max((e.start for e in facts.alive), default=-math.inf)
    latest = min((e.end for e in (*facts.gone, *facts.deletes)), default=math.inf)
    if latest == math.inf:
        return latest
    moments = [min(e.end, latest) for e in facts.deletes if e.start <= latest]
    return max((moment for moment in moments if moment >= earliest), default=None)


def _content(facts: Facts, final: bytes, others: Sequence[Event]) -> Iterable[Named]:
    """I1, I4, I5: what is stored is what the winners sent, and between them prefixes of what others tried."""
    last = max((new_offset(e) for e in (*facts.winners, *facts.views)), default=0)
    if len(final) < last:
        yield "lost", f"{len(final)} bytes are stored, but offset {last} was acknowledged or shown"
    sure = [e for e in facts.winners if e.brought]
    edges = [0, *(edge for e in sure for edge in (e.at, new_offset(e))), len(final)]
    strangers = sorted({(e.upload, e.writer) for e in others if e.upload != facts.upload and e.brought})[:200]
    for event in sure:
        part = final[event.at : new_offset(event)]
        same = agreement(facts.upload, event.writer, part, event.at)
        if same < len(part):
            yield _stands(facts, part[same:], event.at + same, event.writer, strangers)
    # Gaps lie between winners: before the first, after the last.
    for start, end in list(pairwise(edges))[::2]:
        reached = _tried(facts, final, start, end)
        if reached < end:
            yield _stands(facts, final[reached:end], reached, None, strangers)


def _tried(facts: Facts, final: bytes, start: int, end: int) -> int:
    """Return up to where prefixes of bodies without a success explain the bytes of a gap."""
    reached = start
    for event in sorted(facts.maybe, key=lambda event: event.at):
        if start <= event.at <= reached < event.at + event.brought:
            part = final[event.at : min(end, event.at + event.brought)]
            reached = max(reached, event.at + agreement(facts.upload, event.writer, part, event.at))
    return reached


def _stands(
    facts: Facts, data: bytes, offset: int, expected: int | None, strangers: Sequence[tuple[str, int]]
) -> Named:  # fmt: skip
    near = [e.writer for e in facts.events if e.brought and e.at <= offset < e.at + max(e.size, 1)]
    all_writers = {e.writer for e in facts.events if e.brought}
    candidates = sorted(set(near) or all_writers) if len(all_writers) > 50 else sorted(all_writers)
    what, sentence = describe(facts.upload, data, offset, expected=expected, candidates=candidates, others=strangers)
    return ("zeros" if what == ZEROS else "corrupt"), sentence


def _won(event: Event) -> bool:
    return (event.op == "patch" and event.status == 204) or (event.op == "create" and event.status == 201)


def _ok(event: Event) -> bool:
    return event.status is not None and 200 <= event.status < 300


def _may_have_stored(event: Event) -> bool:
    return event.op == "patch" and (event.status is None or (event.status >= 400 and event.status not in REFUSED))


def _may_have_deleted(event: Event) -> bool:
    return event.status is None or event.status >= 500 or _ok(event)


def _lasting(event: Event) -> Event:
    """A DELETE that failed may have been done all the same, and later, like one without an answer."""
    return event if _ok(event) else msgspec.structs.replace(event, end=math.inf, status=None)


def _is_view(event: Event) -> bool:
    return (event.op in ("head", "get") and event.status in (200, 204)) or event.status == 409


def _name(event: Event) -> str:
    if event.op == "patch":
        return f"PATCH of writer {event.writer} ({event.at}+{event.brought})"
    return event.op.upper()
