"""Sends the bytes of requests to a server and judges what comes back, and what became of the uploads they name."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

from tests.faults.fuzzing.answers import Answer, Malformed, documented, split
from tests.faults.fuzzing.rules import Request, breaches, parse
from tests.support.client import CT, T
from tests.support.wire import RawAnswer, Wire

DATA = b"firsthello"
"""What a finished upload holds; the others hold its beginning."""
QUIET = 0.1
"""Seconds after which an incomplete request is taken back."""
PATIENCE = 20.0
"""Seconds in which a complete request must be answered."""
STORES_NOTHING = frozenset({401, 403, 404, 405, 409, 410, 412, 415, 417, 423, 460})
DOCUMENTED = documented()
CREATED: Mapping[str, dict[str, str]] = {
    "open": {"Upload-Length": "20"},
    "deferred": {"Upload-Defer-Length": "1"},
    "done": {"Upload-Length": "10", "Upload-Metadata": "filename d29ybGQucGRm,filetype aW1hZ2UvcG5n"},
    "part": {"Upload-Length": "10", "Upload-Concat": "partial"},
}
"""What the names in `heads` stand for."""


@dataclass
class Attack:
    """One server under attack."""

    url: str
    data_dir: Path
    explained: set[str] = field(default_factory=set)
    """Ids of uploads that were answered for."""
    unanswered: int = 0
    """Inputs that may have created something that nobody was told of."""
    unhandled: int = 0
    """Answers with 500."""
    part: str = ""

    async def prepare(self) -> None:
        """Make what all inputs share."""
        async with await Wire.open(self.url) as wire:
            self.part = await self.create(wire, "part")

    async def create(self, wire: Wire, name: str) -> str:
        """Create what a name stands for; return its id."""
        data = DATA if "10" in CREATED[name].values() else DATA[:5]
        wire.start("POST", self.url, {**T, **CT, **CREATED[name], "Content-Length": str(len(data))})
        wire.send(data)
        answer = await wire.answer()
        assert answer.status == 201, answer
        self.explained.add(answer.headers["Location"].rpartition("/")[2])
        return answer.headers["Location"].rpartition("/")[2]

    async def fill(self, wire: Wire, raw: bytes) -> tuple[bytes, dict[str, str]]:
        """Return an input with real names in it, and the uploads made for it."""
        made = {
            name: await self.create(wire, name)
            for name in ("open", "deferred", "done")
            if b"@%b@" % name.encode() in raw
        }
        names = {"host": wire.host, "part": self.part, **made}
        for name, value in names.items():
            raw = raw.replace(b"@%b@" % name.encode(), value.encode())
        return raw, made

    async def strike(self, wire: Wire, template: bytes) -> None:
        """Send one input on a connection of its own; `wire` is that of a good client. Raises AssertionError."""
        raw, made = await self.fill(wire, template)
        request = parse(raw)
        complete = request is not None and request.body is not None
        received = await _exchange(self.url, raw, PATIENCE if complete else QUIET)
        await self.judge(wire, raw, request, received, made)

    async def cut(self, wire: Wire, template: bytes, places: Sequence[int]) -> None:
        """Send a good request in two packets, once for each place, and judge as if it had come in one."""
        async with contextlib.AsyncExitStack() as stack:
            halves = []
            for place in places:
                raw, made = await self.fill(wire, template)
                first = 1 + place % (len(raw) - 1)
                other = await stack.enter_async_context(await Wire.open(self.url))
                other.send(raw[:first])
                halves.append((other, raw, raw[first:], made))
            # What came first is read first: when this is answered, the first packets have been.
            wire.start("OPTIONS", self.url, {})
            await wire.answer()
            for other, raw, rest, made in halves:
                other.send(rest)
                answers = await self.judge(wire, raw, parse(raw), await receive(other, PATIENCE), made)
                assert [answer.status < 300 for answer in answers] == [True], (len(raw) - len(rest), answers)

    async def judge(
        self, wire: Wire, raw: bytes, request: Request | None, received: bytes, made: Mapping[str, str]
    ) -> list[Answer]:
        """Judge what came back; return the final answers."""
        try:
            answers, rest = split(received, bodiless=b"HEAD" in raw.upper())
        except Malformed as error:
            raise AssertionError(f"no answer of HTTP: {error}") from None
        for answer in answers:
            self.unhandled += answer.status == 500
            assert answer.status in DOCUMENTED, answer
        answers = [answer for answer in answers if answer.status != 100]
        created = {answer.headers["Location"].rpartition("/")[2] for answer in answers if answer.status == 201}
        self.explained |= created
        self.unanswered += raw.count(b"POST") if rest or not answers else 0
        if request is not None and request.body is not None:
            assert answers, f"a complete request got no answer: {received!r}"
        after = {name: await self.look(wire, upload) for name, upload in made.items()}
        if len(answers) == 1 and raw.count(b"HTTP/") <= 1:
            await self.judge_one(wire, request, answers[0], after)
        return answers

    async def look(self, wire: Wire, upload: str) -> RawAnswer:
        """Return what HEAD says, for which every upload must still be good."""
        wire.start("HEAD", self.url + upload, T)
        answer = await wire.answer(head=True, timeout=PATIENCE)
        assert answer.status in (200, 404), answer
        if answer.status == 200:
            offset, length = int(answer.headers["Upload-Offset"]), answer.headers.get("Upload-Length")
            assert 5 <= offset, "less than what was acknowledged"
            assert length is None or offset <= int(length), f"{offset} of {length} bytes"
        return answer

    async def judge_one(
        self, wire: Wire, request: Request | None, answer: Answer, after: Mapping[str, RawAnswer]
    ) -> None:
        """Judge the only answer to some bytes: whatever was accepted had to be, whatever was refused did nothing."""
        offsets = {name: int(head.headers.get("Upload-Offset", "-1")) for name, head in after.items()}
        before = {"open": 5, "deferred": 5, "done": 10}
        if answer.status in STORES_NOTHING or answer.status in (200, 201, 206, 304, 416):
            assert offsets == {name: before[name] for name in offsets}, (answer, offsets)
        if answer.status >= 300:
            assert -1 not in offsets.values(), "a refused request removed an upload"
            return
        assert request is not None, f"{answer.status} to what is no request by RFC 9112"
        assert not (found := breaches(request, request.effective)), f"{answer.status} in spite of {found}"
        await _CHECKS[request.effective](self, wire, request, answer, offsets)

    async def created(self, wire: Wire, request: Request, answer: Answer, _: Mapping[str, int]) -> None:
        """A new upload is what was asked for, and has what came with the request."""
        assert answer.status == 201, answer
        location = urljoin(self.url, answer.headers["Location"])
        head = await self.head(wire, location)
        assert head.headers.get("Upload-Offset") == str(len(request.body or b"")) or "final" in str(request.headers)
        metadata = ",".join(value for value in request.all_of("Upload-Metadata") if value)
        assert head.headers.get("Upload-Metadata", "") == metadata
        if lengths := request.all_of("Upload-Length"):
            assert int(head.headers["Upload-Length"]) == int(lengths[0])

    async def head(self, wire: Wire, url: str) -> RawAnswer:
        """Return what HEAD says of an upload that was announced under a URL of any host."""
        wire.start("HEAD", self.url + url.rpartition("/")[2], T)
        answer = await wire.answer(head=True)
        assert answer.status == 200, answer
        return answer

    async def appended(self, wire: Wire, request: Request, answer: Answer, offsets: Mapping[str, int]) -> None:
        """204 to a PATCH: its offset was right, and all of its body is there."""
        assert answer.status == 204, answer
        body = request.body
        assert body is not None, "the body had not come"
        assert int(answer.headers["Upload-Offset"]) == request.offset + len(body)
        assert request.offset + len(body) in offsets.values()

    async def removed(self, wire: Wire, request: Request, answer: Answer, offsets: Mapping[str, int]) -> None:
        """204 to a DELETE: nothing is left."""
        assert answer.status == 204, answer
        assert list(offsets.values()) == [-1]

    async def shown(self, wire: Wire, request: Request, answer: Answer, _: Mapping[str, int]) -> None:
        """HEAD and OPTIONS say something."""
        assert answer.status in (200, 204), answer

    async def sent(self, wire: Wire, request: Request, answer: Answer, _: Mapping[str, int]) -> None:
        """A download is the bytes asked for."""
        if answer.status == 206:
            match = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/10", answer.headers["Content-Range"])
            assert match, answer
            assert request.all_of("Range")
            assert answer.body == DATA[int(match[1]) : int(match[2]) + 1]
        else:
            assert (answer.status, answer.body) == (200, DATA)

    def judge_disk(self) -> None:
        """What is stored: nothing from a refused request, no offset beyond a length or a file."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as rows:
            stored = rows.execute('select id, "offset", length from uploads').fetchall()
        unknown = {row[0] for row in stored} - self.explained
        assert len(unknown) <= self.unanswered, f"uploads that nobody was told of: {unknown}"
        for upload, offset, length in stored:
            assert length is None or 0 <= offset <= length, (upload, offset, length)
            path = self.data_dir / "uploads" / upload[:2] / upload
            assert not offset or offset <= path.stat().st_size, (upload, offset)


_CHECKS = {
    "POST": Attack.created,
    "PATCH": Attack.appended,
    "DELETE": Attack.removed,
    "HEAD": Attack.shown,
    "OPTIONS": Attack.shown,
    "GET": Attack.sent,
}


async def _exchange(url: str, raw: bytes, patience: float) -> bytes:
    """Send bytes; return everything that came back until the server closed, or had nothing to say for long enough."""
    async with await Wire.open(url) as wire:
        wire.send(raw)
        return await receive(wire, patience)


async def receive(wire: Wire, patience: float) -> bytes:
    """Read until the server closes; wait so long for a first answer. Who falls silent is told that nothing follows."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while True:
            begun = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            try:
                piece = await asyncio.wait_for(wire.reader.read(65536), QUIET if begun else patience)
            except TimeoutError:
                break
            if not piece:
                return received
            received += piece
        wire.finish()
        received += await wire.closed(timeout=PATIENCE)
    return received
