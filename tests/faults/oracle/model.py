"""What a tus server may answer and must keep: pure functions return what is allowed, `choose` takes what was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tests.faults.oracle.payload import Segment

Kind = Literal["whole", "partial", "final"]
GONE = frozenset({404, 410})
REFUSED = frozenset({401, 403, 404, 405, 409, 410, 412, 415, 423, 460})
"""Errors that are answered without storing anything of the body."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One upload as it must be found."""

    key: str
    length: int | None
    offset: int = 0
    most: int = 0
    """A body was cut: the offset is anything from `offset` up to this, and the bytes between are `cutter`'s."""
    cutter: int = 0
    kind: Kind = "whole"
    segments: tuple[Segment, ...] = ()
    gone: bool = False
    expired: bool = False

    @property
    def finished(self) -> bool:
        return self.length is not None and self.offset == self.length


State = Mapping[str, Upload]


class Outcome(msgspec.Struct, frozen=True):
    """An answer that is allowed and the state behind it."""

    status: frozenset[int]
    state: State
    offsets: range | None = None
    """What Upload-Offset may say; None = it is not there or does not matter."""
    name: str = ""
    """The upload whose offset the answer shows."""


def choose(outcomes: Sequence[Outcome], status: int, offset: int | None = None) -> State:
    """Return the state behind this answer; an answer that is not allowed is an AssertionError."""
    for outcome in outcomes:
        if status not in outcome.status:
            continue
        if outcome.offsets is None:
            return outcome.state
        if offset in outcome.offsets:
            return _with(outcome.state, settle(outcome.state[outcome.name], offset or 0))
    allowed = [(sorted(outcome.status), outcome.offsets) for outcome in outcomes]
    raise AssertionError(f"answered {status} with offset {offset}; allowed: {allowed}")


def settle(upload: Upload, offset: int) -> Upload:
    """Return the upload now that its offset is known: what came before it of a cut body is stored."""
    if not upload.offset <= offset <= max(upload.offset, upload.most):
        raise AssertionError(f"offset {offset} is not in [{upload.offset}, {upload.most}]")
    return _append(upload, upload.cutter, offset)


def create(
    state: State, key: str, length: int | None, *, kind: Kind = "whole", max_size: int | None = None
) -> list[Outcome]:
    """POST with Upload-Length, or with Upload-Defer-Length where `length` is None."""
    if length is not None and max_size is not None and length > max_size:
        return [_refusal(state, 413)]
    return [Outcome(frozenset({201}), _with(state, Upload(key=key, length=length, kind=kind)))]


def concat(state: State, key: str, parts: Sequence[str], *, max_size: int | None = None) -> list[Outcome]:
    """POST of a final upload."""
    found = [state[name] for name in parts if _absent(state, name) is None]
    bad = not parts or any(each.kind != "partial" or not each.finished for each in found)
    if bad or len(found) < len(parts):
        return [_refusal(state, *(GONE if len(found) < len(parts) else ()), *((400,) if bad else ()))]
    segments = tuple(segment for each in found for segment in each.segments)
    total = sum(each.offset for each in found)
    if max_size is not None and total > max_size:
        return [_refusal(state, 413)]
    final = Upload(key=key, length=total, offset=total, kind="final", segments=segments)
    return [Outcome(frozenset({201}), _with(state, final))]


def patch(
    state: State, name: str, at: int, size: int, *, writer: int, length: int | None = None, chunked: bool = False
) -> list[Outcome]:
    """PATCH with a whole body of `size` bytes; with `length` it declares the length of a deferred upload."""
    if (absent := _absent(state, name)) is not None:
        return [absent]
    if (upload := state[name]).kind == "final":
        return [_refusal(state, 403)]
    low, high = upload.offset, max(upload.offset, upload.most)
    outcomes = [Outcome(frozenset({409}), state, range(low, high + 1), name)] if at != low or low < high else []
    if low <= at <= high:
        here = _with(state, settle(upload, at))
        outcomes.append(_patch_here(here, name, size, writer, length=length, chunked=chunked))
    return outcomes


def cut(
    state: State, name: str, at: int, sent: int, *, writer: int, length: int | None = None, checksum: bool = False
) -> State:
    """PATCH that was cut after `sent` bytes: any prefix of them may be stored, none if it had a checksum.

    Before the next cut of this upload, look at its offset.
    """
    if _absent(state, name) is not None or (upload := state[name]).kind == "final" or upload.offset != at:
        return state
    assert upload.most <= upload.offset, "look at the offset first"
    declared = upload.length if length is None else length
    most = at if checksum else at + sent
    most = most if declared is None else min(most, declared)
    return _with(state, msgspec.structs.replace(upload, most=most, cutter=writer, length=declared))


def head(state: State, name: str) -> list[Outcome]:
    """HEAD."""
    if (absent := _absent(state, name)) is not None:
        return [absent]
    low, high = state[name].offset, max(state[name].offset, state[name].most)
    return [Outcome(frozenset({200}), state, range(low, high + 1), name)]


def get(state: State, name: str) -> list[Outcome]:
    """GET; the offset of the answer is the size of its body. What is not finished is not there."""
    if (absent := _absent(state, name)) is not None:
        return [absent]
    upload = state[name]
    missing = [] if upload.finished else [_refusal(state, 404)]
    if upload.length is None or not upload.offset <= upload.length <= max(upload.offset, upload.most):
        return missing
    return [Outcome(frozenset({200}), state, range(upload.length, upload.length + 1), name), *missing]


def delete(state: State, name: str) -> list[Outcome]:
    """DELETE."""
    if (absent := _absent(state, name)) is not None:
        return [absent]
    return [Outcome(frozenset({204}), _with(state, msgspec.structs.replace(state[name], gone=True)))]


def expire(state: State, name: str) -> State:
    """The time of an upload is over; a finished one stays unless it is a partial one (EXP-06, EXP-09)."""
    if (upload := state[name]).gone or (upload.finished and upload.kind != "partial"):
        return state
    return _with(state, msgspec.structs.replace(upload, expired=True))


def restart(state: State) -> State:
    """A new process, after a kill too: what was acknowledged is there, what was cut is as uncertain as before."""
    return state


def content(upload: Upload) -> bytes:
    """Return the bytes that are stored up to the offset."""
    return b"".join(each.content() for each in upload.segments)


def _patch_here(state: State, name: str, size: int, writer: int, *, length: int | None, chunked: bool) -> Outcome:
    upload, at = state[name], state[name].offset
    if length is not None and ((upload.length is not None and upload.length != length) or length < at):
        return _refusal(state, 400)
    declared = upload.length if length is None else length
    room = size if declared is None else min(size, declared - at)
    if room < size and not chunked:
        return _refusal(state, 413)
    stored = _append(msgspec.structs.replace(upload, length=declared), writer, at + room)
    if room < size:
        return _refusal(_with(state, stored), 413)
    return Outcome(frozenset({204}), _with(state, stored), range(at + room, at + room + 1), name)


def _append(upload: Upload, writer: int, end: int) -> Upload:
    more = (Segment(upload.key, writer, upload.offset, end),) if end > upload.offset else ()
    return msgspec.structs.replace(upload, offset=end, most=end, segments=upload.segments + more)


def _absent(state: State, name: str) -> Outcome | None:
    upload = state.get(name)
    if upload is None or upload.gone:
        return _refusal(state, 404)
    return _refusal(state, *GONE) if upload.expired else None


def _refusal(state: State, *status: int) -> Outcome:
    return Outcome(frozenset(status), state)


def _with(state: State, upload: Upload) -> State:
    return {**state, upload.key: upload}
