"""Bytes that name their writer and their place: whoever finds one knows who sent it, and for which offset."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

BLOCK = 4096
TELLING = 4
"""So many bytes in a row are somebody's; fewer may be by chance, unless nothing follows."""

ZEROS = "zeros"
UNKNOWN = "unknown"


class Segment(NamedTuple):
    """Bytes [start, end) of a writer, sent for the upload with this key."""

    key: str
    writer: int
    start: int
    end: int

    def content(self) -> bytes:
        return payload(*self)


class Found(NamedTuple):
    """Whose bytes begin at a place of a file, and how many of them follow one another."""

    kind: str
    """`writer`, `zeros` or `unknown`."""
    size: int
    key: str = ""
    writer: int = -1
    offset: int = -1
    """For which offset they were sent."""


@functools.lru_cache(maxsize=2048)
def _block(key: str, writer: int, index: int) -> bytes:
    return hashlib.shake_128(f"{key}|{writer}|{index}".encode()).digest(BLOCK)


def payload(key: str, writer: int, start: int, end: int) -> bytes:
    """Return what this writer sends for the bytes [start, end) of the upload with this key."""
    if start >= end:
        return b""
    first = start // BLOCK
    blocks = b"".join(_block(key, writer, index) for index in range(first, (end - 1) // BLOCK + 1))
    return blocks[start - first * BLOCK : end - first * BLOCK]


def common(left: bytes | memoryview, right: bytes | memoryview) -> int:
    """Return how many bytes two strings have in common from their beginning."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low


def agreement(key: str, writer: int, data: bytes, offset: int) -> int:
    """Return how many bytes of `data`, which stands at `offset`, are this writer's, from the beginning on."""
    view, done = memoryview(data), 0
    while done < len(data):
        size = min(16 * BLOCK, len(data) - done)
        same = common(view[done : done + size], payload(key, writer, offset + done, offset + done + size))
        done += same
        if same < size:
            break
    return done


def first_difference(key: str, writer: int, data: bytes, offset: int) -> int | None:
    """Return the offset of the first byte of `data` that is not this writer's; None if all of them are."""
    same = agreement(key, writer, data, offset)
    return None if same == len(data) else offset + same


def find_writer(
    key: str, data: bytes, offset: int, candidates: Sequence[int], others: Sequence[tuple[str, int]] = ()
) -> Found:
    """Return whose bytes `data` begins with, at their own place or moved; `others` are writers of other uploads."""
    telling = min(TELLING, len(data))
    zeros = len(data) - len(data.lstrip(b"\0"))
    sources = [(key, writer) for writer in candidates] + list(others)
    best = max(
        (Found("writer", agreement(name, writer, data, offset), name, writer, offset) for name, writer in sources),
        key=lambda found: found.size,
        default=Found(UNKNOWN, 0),
    )
    if best.size >= telling and best.size >= zeros:
        return best
    if zeros:
        return Found(ZEROS, zeros)
    return _moved(sources, data, offset) or Found(UNKNOWN, 1)


def _moved(sources: Iterable[tuple[str, int]], data: bytes, offset: int) -> Found | None:
    needle = data[:16]
    if len(needle) < TELLING:
        return None
    reach = offset + len(data) + 16 * BLOCK
    for key, writer in sources:
        if (place := payload(key, writer, 0, reach).find(needle)) >= 0:
            return Found("writer", agreement(key, writer, data, place), key, writer, place)
    return None


def describe(
    key: str,
    data: bytes,
    offset: int,
    *,
    expected: int | None,
    candidates: Sequence[int],
    others: Sequence[tuple[str, int]] = (),
) -> tuple[str, str]:
    """Say what stands at the beginning of `data` instead of the expected writer's bytes: (kind, sentence)."""
    found = find_writer(key, data, offset, candidates, others)
    size = found.size
    if found.kind == UNKNOWN:
        size = _strange(key, data, offset, [*candidates, *([] if expected is None else [expected])])
    if found.kind == "writer" and expected is not None:
        # By chance the last bytes may be the right ones already.
        right = payload(key, expected, offset, offset + size)
        size = next((end for end in range(size, 0, -1) if right[end - 1] != data[end - 1]), size)
    where = f"bytes {offset}-{offset + size - 1}"
    wanted = "" if expected is None else f", expected writer {expected}"
    if found.kind == ZEROS:
        return ZEROS, f"{where} are zeros{wanted}"
    if found.kind == UNKNOWN:
        return UNKNOWN, f"{where} are nobody's{wanted}"
    owner = f"writer {found.writer}" if found.key == key else f"writer {found.writer} of upload {found.key}"
    if found.offset != offset:
        return "writer", f"{owner}'s bytes of offset {found.offset} at offset {offset}{wanted}"
    return "writer", f"{where} are {owner}'s{wanted}"


def _strange(key: str, data: bytes, offset: int, writers: Sequence[int]) -> int:
    """Return how many bytes pass until somebody's begin again."""
    near = data[:BLOCK]
    sent = [payload(key, writer, offset, offset + len(near)) for writer in writers]
    for size in range(1, len(near) - TELLING + 1):
        if any(body[size : size + TELLING] == near[size : size + TELLING] for body in sent):
            return size
    return len(near)
