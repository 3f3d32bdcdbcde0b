"""What the log still proves when a power cut took something back, at the levels of durability that allow it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from tests.faults.oracle.checker import new_offset
from tests.faults.oracle.history import Event


def cut_back(events: Sequence[Event], moment: float, offset: int) -> list[Event]:
    """Return the events of an upload that had fallen back to `offset` at this moment.

    Whatever began before it ended with the server: it stored nothing beyond `offset` that counts, and who saw more saw
    what is no longer true.
    """
    return [*_before((e for e in events if e.start <= moment), offset), *(e for e in events if e.start > moment)]


def _before(events: Iterable[Event], offset: int) -> Iterator[Event]:
    for event in events:
        shows = event.offset is not None and (event.op in ("head", "get") or event.status == 409)
        if shows:
            if new_offset(event) <= offset:
                yield event
        elif event.op in ("patch", "create") and event.brought:
            upto = min(new_offset(event), offset)
            if event.at < upto or event.op == "create":
                shown = None if event.offset is None else upto
                yield replace(event, size=upto - event.at, sent=None, offset=shown)
        elif event.at <= offset:
            yield event
