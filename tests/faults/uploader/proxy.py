"""A proxy that reads requests and harms each as it was told to: what stands between an uploader and its server."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.support.listening import at_port, listening
from tests.support.proxy import Cut, delivered, end

PIECE = 65536
MOST_DRIPPED = 4096
"""Bytes; more than that comes in pieces of so many."""
LONG = 60.0
"""Seconds for which nobody waits."""
LINGERS = 2.0
"""Seconds for which the rest of a body is thrown away, so that its client can read an answer that came early."""
AWAY = "502 while there was no server"
WORDS = {302: "Found", 423: "Locked", 429: "Too Many Requests", 502: "Bad Gateway", 503: "Service Unavailable"}


@dataclass(frozen=True)
class Asked:
    """The head of a request."""

    raw: bytes
    method: str
    path: str
    headers: Mapping[str, str]
    """By names in lower case."""

    @property
    def what(self) -> str:
        """The method; `POST final` for a concatenation."""
        final = self.headers.get("upload-concat", "").startswith("final")
        return "POST final" if final else self.method

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return int(self.headers.get("content-length", 0))


@dataclass(frozen=True)
class Severed:
    """Both connections end when so many bytes of the body, or all of it, have reached the server."""

    after: int = 0
    how: Cut = Cut.RST

    def __str__(self) -> str:
        return f"cut {self.how.name}"


@dataclass(frozen=True)
class Answered:
    """The proxy answers; the server hears nothing of it."""

    status: int = 503
    retry_after: int | None = None
    early: bool = False
    """Before the body was read, and the connection ends with it."""

    def __str__(self) -> str:
        return f"{self.status}{' with Retry-After' if self.retry_after is not None else ''}"


@dataclass(frozen=True)
class Swallowed:
    """The server gets it all, and its answer gets no further than here."""

    how: Cut | None = Cut.RST
    """How the connections end; None = not for a while."""

    def __str__(self) -> str:
        return f"answer swallowed {self.how.name}" if self.how else "answer kept"


@dataclass(frozen=True)
class Silent:
    """Nothing moves any more after so many bytes of the body; after many seconds, reset."""

    after: int = 0
    seconds: float = LONG

    def __str__(self) -> str:
        return "silence"


@dataclass(frozen=True)
class Slowed:
    """Everything arrives: late, at so many bytes a second, or in pieces of so many bytes."""

    seconds: float = 0.0
    rate: int | None = None
    piece: int = PIECE

    def __str__(self) -> str:
        return "drip" if self.piece < PIECE else "throttled" if self.rate else "late"


Harm = Severed | Answered | Swallowed | Silent | Slowed
Fate = Callable[[Asked], Harm | None]
"""Says what a request has to endure."""


class HarmfulProxy:
    """Forwards requests to one server, which may come and go; each suffers what is planned, else what `fate` says."""

    def __init__(self, target: str, fate: Fate | None = None) -> None:
        self._target = urlsplit(target)
        self._fate = fate or (lambda _: None)
        self._plan: list[tuple[str, Harm]] = []
        self.url = ""
        """The target's URL through the proxy."""
        self.harmed: Counter[str] = Counter()
        """What was done to requests, once it was done."""
        self.asked: Counter[str] = Counter()
        """Requests that came, by what they are."""
        self.received = 0
        """Bytes of bodies that came from clients."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, target: str, fate: Fate | None = None) -> AsyncIterator[Self]:
        """Run a proxy on a free port until the block ends."""
        proxy = cls(target, fate)
        async with listening(proxy._serve) as port:
            proxy.url = at_port(target, port)
            yield proxy

    def plan(self, what: str, *harms: Harm) -> None:
        """Let the next requests of this kind (see `Asked.what`) suffer these, one after the other."""
        self._plan += [(what, harm) for harm in harms]

    @property
    def planned(self) -> int:
        """How many of the planned harms no request has met yet."""
        return len(self._plan)

    def harm_of(self, asked: Asked) -> Harm | None:
        """Say what becomes of a request."""
        self.asked[asked.what] += 1
        for index, (what, harm) in enumerate(self._plan):
            if what == asked.what:
                del self._plan[index]
                return harm
        return self._fate(asked)

    async def to_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server. Raises `ConnectionError` where there is none."""
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = _Passage(self, reader, writer)
        try:
            with contextlib.suppress(_ClientGone):
                await passage.run()
        finally:
            await passage.close()


class _ClientGone(Exception):
    """Nobody is there any more for whom anything could be forwarded."""


class _Passage:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: HarmfulProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._there: asyncio.StreamWriter | None = None
        self._back: asyncio.Task[None] | None = None
        self._pace = Slowed()
        self._swallows: Swallowed | None = None

    async def run(self) -> None:
        """Take request after request, until one of the ends goes."""
        while True:
            asked = await self._head()
            if not await self._take(asked, self._proxy.harm_of(asked)):
                return

    async def close(self) -> None:
        """End what is left of both connections."""
        for each in (self._writer, self._there):
            if each is not None:
                each.transport.abort() if each.transport.get_write_buffer_size() else each.close()
        if self._back is not None:
            self._back.cancel()
            await asyncio.wait([self._back])

    async def _head(self) -> Asked:
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _ClientGone from None
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        assert "transfer-encoding" not in headers, "an uploader knows how much it sends"
        return Asked(raw, method, path, headers)

    async def _take(self, asked: Asked, harm: Harm | None) -> bool:
        """Do what is to be done with a request; return whether the connections stay."""
        if isinstance(harm, Answered):
            self._done(harm)
            return await self._answer(asked, harm)
        if not await self._connect():
            self._proxy.harmed[AWAY] += 1
            return await self._answer(asked, Answered(502, early=True))
        self._pace = harm if isinstance(harm, Slowed) else Slowed()
        self._swallows = harm if isinstance(harm, Swallowed) else None
        passes = min(asked.length, harm.after) if isinstance(harm, Severed | Silent) else asked.length
        await asyncio.sleep(self._pace.seconds)
        try:
            await self._forward(asked, passes)
        except ConnectionError:
            # The server is gone, or has said what it thinks and closed.
            await self._answered()
            await self._linger()
            return False
        match harm:
            case Severed():
                self._done(harm)
                await self._sever(harm.how)
            case Silent():
                self._done(harm)
                await asyncio.sleep(harm.seconds)
            case Swallowed():
                await self._answered()
            case Slowed():
                self._done(harm)
        return harm is None or isinstance(harm, Slowed)

    async def _connect(self) -> bool:
        """Have a connection to the server; return whether there is one."""
        if self._there is None:
            try:
                answers, self._there = await self._proxy.to_server()
            except ConnectionError:
                return False
            self._back = asyncio.create_task(self._bring_back(answers))
        return True

    async def _forward(self, asked: Asked, count: int) -> None:
        """Bring the head and so many bytes of the body to the server. Raises `ConnectionError` when it is gone."""
        assert self._there is not None
        self._there.write(asked.raw)
        while count:
            data = await self._read(min(count, self._pace.piece))
            if self._pace.rate is not None:
                await asyncio.sleep(len(data) / self._pace.rate)
            self._there.write(data)
            await self._there.drain()
            count -= len(data)

    async def _bring_back(self, answers: asyncio.StreamReader) -> None:
        """Bring answers to the client, and the end of the server; or swallow them."""
        try:
            while data := await answers.read(PIECE):
                if self._swallows is not None:
                    self._done(self._swallows)
                    await self._keep(self._swallows.how)
                    return
                # What drips is a head; a file that is read back would take an hour.
                piece = max(self._pace.piece, MOST_DRIPPED) if len(data) > MOST_DRIPPED else self._pace.piece
                for start in range(0, len(data), piece):
                    self._writer.write(data[start : start + piece])
                    await self._writer.drain()
                    if self._pace.piece < PIECE:
                        await asyncio.sleep(0.002)
            self._writer.write_eof()
        except (ConnectionError, RuntimeError):
            end(self._writer, Cut.RST)

    async def _keep(self, how: Cut | None) -> None:
        """Let an answer go no further."""
        if how is None:
            await asyncio.sleep(LONG)
        for each in (self._writer, self._there):
            assert each is not None
            end(each, how or Cut.RST)

    async def _answer(self, asked: Asked, harm: Answered) -> bool:
        """Answer in the place of the server; return whether the connections stay."""
        if not harm.early:
            left = asked.length
            while left:
                left -= len(await self._read(min(left, PIECE)))
        text = f"{harm.status} {WORDS[harm.status]}"
        lines = [f"HTTP/1.1 {text}", "Content-Type: text/html"]
        lines += [f"Retry-After: {harm.retry_after}"] if harm.retry_after is not None else []
        lines += ["Connection: close"] if harm.early else []
        lines += ["Location: http://127.0.0.1:1/login"] if harm.status == 302 else []
        body = "" if asked.method == "HEAD" else f"<html><title>{text}</title></html>\n"
        self._writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode())
        await self._writer.drain()
        if harm.early:
            self._writer.write_eof()
            await self._linger()
        return not harm.early

    async def _answered(self) -> None:
        """Wait until the server has nothing more to say."""
        assert self._back is not None
        await asyncio.wait([self._back])

    async def _linger(self) -> None:
        """Let the client read what it was told before its connection goes."""
        with contextlib.suppress(TimeoutError, _ClientGone):
            async with asyncio.timeout(LINGERS):
                while True:
                    await self._read(PIECE)

    async def _read(self, most: int) -> bytes:
        """Read of a body, and count it. Raises `_ClientGone` at the end of the connection."""
        try:
            data = await self._reader.read(most)
        except ConnectionError:
            data = b""
        if not data:
            raise _ClientGone
        self._proxy.received += len(data)
        return data

    async def _sever(self, how: Cut) -> None:
        """End both connections, when what was let through is with the server."""
        assert self._there is not None
        with contextlib.suppress(ConnectionError):
            await self._there.drain()
            await delivered(self._there)
        end(self._there, how)
        if how is Cut.RST:
            end(self._writer, how)
            return
        # Closed with bytes unread, the kernel would send a reset.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._writer.write_eof()
            await self._linger()

    def _done(self, harm: Harm) -> None:
        self._proxy.harmed[str(harm)] += 1
