"""One short story with every kind of request in it, which a client tells a server again until it has come true."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from tests.faults.actors import Actor
from tests.faults.oracle.checker import Violation
from tests.faults.oracle.history import Begun, Event
from tests.faults.oracle.model import GONE
from tests.faults.oracle.payload import payload
from tests.support.client import CT, T
from tests.support.wire import RawAnswer, Wire

SETTINGS: dict[str, Any] = {
    "checkpoint_bytes": 512 * 1024,
    "checkpoint_interval": "1h",
    "data_plane_from": 48 * 1024,
    "sweep_interval": "1h",
    "lock_timeout": "1s",
}
"""Of the server that hears it: several commits in one body, nothing that depends on the time."""
ASKED: dict[str, Any] = {"agrees": "yes", "tells_ends": True}
"""Of one that asks a hook before it finishes an upload, and has a job for every upload that was removed."""
SYNCED: dict[str, Any] = {"journal_up_to": "none"}
"""Of one that syncs short bodies, too."""
PATIENCE = 5.0
"""Seconds in which an upload that is finishing gets there."""


@dataclass(frozen=True)
class Part:
    """An upload of the story."""

    key: str
    ends: tuple[int, ...]
    """Where its bodies end; the last one is its length."""
    with_body: bool = False
    """Whether the first body comes with the creation."""
    partial: bool = False
    deleted: bool = False

    @property
    def length(self) -> int:
        return self.ends[-1]


PARTS = (
    # Read in Python; moved by the kernel, with checkpoints; read again, to its end.
    Part("whole", (3_000, 2_500_000, 2_540_000)),
    Part("gone", (2_000, 5_000), deleted=True),
    Part("left", (4_000,), with_body=True, partial=True),
    Part("right", (70_000,), partial=True),
    Part("quick", (6_000,), with_body=True),
    Part("large", (150_000,), with_body=True),
)
JOINED = ("left", "right")
FINAL = "final"


class Teller(Actor):
    """A client that wants all of it, and goes on where it was when it is asked again."""

    deleted: bool = False
    _asides = 0

    @property
    def finished(self) -> list[str]:
        """The keys of what has to be finished in the end."""
        return [*(part.key for part in PARTS if not part.deleted), FINAL]

    @property
    def owed(self) -> list[str]:
        """The names of the uploads that have jobs in the end."""
        keys = [*(part.key for part in PARTS if not part.deleted and not part.partial), FINAL]
        return [self.urls[key].rpartition("/")[2] for key in keys if key in self.urls]

    @property
    def ended(self) -> list[str]:
        """The names of the uploads that were removed for sure."""
        gone = [event.upload for event in self.log.events() if event.op == "delete" and event.status == 204]
        gone += [part.key for part in PARTS if part.deleted and self.deleted]
        return list(dict.fromkeys(self.urls[key].rpartition("/")[2] for key in gone))

    def move(self, url: str) -> None:
        """Go on with another life of the server."""
        self.url = url
        self.urls = {key: urljoin(url, urlsplit(old).path) for key, old in self.urls.items()}

    async def tell(self) -> list[str]:
        """Do whatever is left to do, one thing after the other; return what did not come true."""
        await self._ask("OPTIONS", self.url, {})
        failed = [part.key for part in PARTS if not await self._reach(part)]
        if FINAL not in self.urls and not {*JOINED} & {*failed}:
            await self._join()
        if FINAL not in self.urls or not await self._shows(FINAL, self._joined_length):
            failed.append(FINAL)
        return failed

    async def aside(self) -> list[Event]:
        """Have a small upload that nobody has heard of, look at it and remove it again."""
        self._asides += 1
        key = f"aside-{self._asides}"
        events = [await self.create(key, 3000)]
        if key in self.urls:
            events += [await self.patch(key, 0, 1000), await self.head(key), await self.delete(key)]
        return events

    def wrongly_joined(self) -> list[Violation]:
        """Compare the last download of the concatenation with those of its parts (CAT-07)."""
        parts = [self.bodies.get(key) for key in JOINED]
        if FINAL not in self.bodies or None in parts or self.bodies[FINAL] == b"".join(filter(None, parts)):
            return []
        return [Violation("corrupt", FINAL, "the concatenation is not its parts one behind the other")]

    @property
    def _joined_length(self) -> int:
        return sum(part.length for part in PARTS if part.key in JOINED)

    async def _reach(self, part: Part) -> bool:
        if part.deleted:
            return await self._remove(part)
        at = await self._find(part)
        return at is not None and await self._fill(part.key, at, part.ends) and await self._shows(part.key, part.length)

    async def _remove(self, part: Part) -> bool:
        if not self.deleted:
            at = await self._find(part)
            if at is not None and await self._fill(part.key, at, part.ends[:1]):
                await self.delete(part.key)
        # A DELETE that seemed to fail may have been done all the same.
        self.deleted = part.key in self.urls and (await self.head(part.key)).status in GONE
        return self.deleted

    async def _find(self, part: Part) -> int | None:
        """Return the offset of an upload, which is made if it is not there."""
        if part.key in self.urls:
            return await self._settled(part.key)
        made = await self._make(part)
        if made.status != 201:
            return None
        return made.offset or 0

    async def _settled(self, key: str) -> int | None:
        """Return the offset of an upload, when it is not just being finished."""
        ends = asyncio.get_running_loop().time() + PATIENCE
        while (seen := await self.head(key)).status == 423 and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.05)
        return seen.offset

    async def _fill(self, key: str, at: int, ends: Sequence[int]) -> bool:
        for end in ends:
            if end > at:
                event = await self.patch(key, at, end - at)
                if event.status != 204 or event.offset is None:
                    return False
                at = event.offset
        return True

    async def _shows(self, key: str, length: int) -> bool:
        seen, got = await self.head(key), await self.get(key)
        return (seen.offset, got.offset) == (length, length)

    async def _make(self, part: Part) -> Event:
        headers = {"Upload-Concat": "partial"} if part.partial else {}
        if part.with_body:
            return await self._create_with_body(part.key, part.length, part.ends[0], headers)
        return await self.create(part.key, part.length, headers)

    async def _create_with_body(self, key: str, length: int, size: int, headers: Mapping[str, str]) -> Event:
        writer = next(self._writers)
        begun = self.log.begin("create", key, length=length, writer=writer, size=size)
        answer: RawAnswer | None = None
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(self._timeout), await Wire.open(self.url) as wire:
                sizes = {"Upload-Length": str(length), "Content-Length": str(size)}
                wire.start("POST", self.url, {**T, **CT, **sizes, **headers})
                wire.send(payload(key, writer, 0, size))
                await wire.flush()
                answer = await wire.answer(timeout=self._timeout)
        return self._made(begun, key, answer)

    def _made(self, begun: Begun, key: str, answer: RawAnswer | None) -> Event:
        if answer is None:
            return begun.end(None)
        if answer.status != 201:
            return begun.end(answer.status, note=answer.code)
        self.urls[key] = urljoin(self.url, answer.headers["Location"])
        offset = answer.headers.get("Upload-Offset")
        return begun.end(201, None if offset is None else int(offset), note=answer.headers["Location"])

    async def _join(self) -> None:
        # All of it comes at once, as with a body of its own.
        length = self._joined_length
        begun = self.log.begin("create", FINAL, length=length, size=length)
        parts = " ".join(urlsplit(self.urls[key]).path for key in JOINED)
        answer = await self._ask("POST", self.url, {"Upload-Concat": f"final;{parts}", "Content-Length": "0"})
        self._made(begun, FINAL, answer)
