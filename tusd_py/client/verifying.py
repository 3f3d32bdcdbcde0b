"""Whether what has arrived is what was sent."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Coroutine
from typing import Any

import aiohttp

from tusd_py.client.errors import NotATusServer, NotVerified, Refused, SourceChanged, SourceUnusable
from tusd_py.client.patience import Patience
from tusd_py.client.together import together
from tusd_py.client.wire import Wire
from tusd_py.protocol.headers import decode_base64, list_members
from tusd_py.protocol.tus1_client import TryAgain, inspect_head, read_standing

_BLOCK = 2**20
# RFC 9530: a dictionary of byte sequences.
_SHA_256 = re.compile(r"sha-256=:([A-Za-z0-9+/]+={0,2}):")
_CONTINUED = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)")


async def verify(wire: Wire, url: str, size: int, ours: Coroutine[Any, Any, bytes], patience: Patience) -> None:
    """Return when the upload at `url` has `size` bytes, and the SHA-256 that `ours` returns.

    Raises:
        NotVerified: it has others, or nobody can tell.
        GaveUp: the server was not there to be asked.
    """
    try:
        theirs, sent = await together((_Theirs(wire, url, size, patience).digest(), ours))
    except (SourceChanged, SourceUnusable) as error:
        raise NotVerified(f"{error.sentence}, so nobody can tell whether it has arrived as it was") from error
    except (Refused, NotATusServer) as error:
        raise NotVerified(f"the server does not let {url} be read back: {error.sentence}") from error
    if theirs != sent:
        raise NotVerified(f"what has arrived at {url} is not what was sent: its SHA-256 is another one")


class _Theirs:
    """The SHA-256 of what the server has: as it reports it, else of what it sends back."""

    def __init__(self, wire: Wire, url: str, size: int, patience: Patience) -> None:
        self._wire = wire
        self._url = url
        self._size = size
        self._patience = patience
        self._running = hashlib.sha256()
        self._read = 0
        self._furthest = 0
        self._has_ranges = True

    async def digest(self) -> bytes:
        reported = await self._patience.insist(self._reported)
        if reported is not None:
            return reported
        return await self._patience.insist(self._read_back)

    async def _reported(self) -> bytes | None:
        answer = await self._wire.ask("HEAD", self._url, inspect_head() | {"Want-Repr-Digest": "sha-256=10"})
        read_standing(answer)
        for member in list_members(answer.headers.getall("Repr-Digest", ())):
            if match := _SHA_256.fullmatch(member):
                return decode_base64(match[1])
        return None

    async def _read_back(self) -> bytes:
        goes_on = self._read > 0 and self._has_ranges
        head = {"Range": f"bytes={self._read}-"} if goes_on else {}
        async with self._wire.stream("GET", self._url, head) as response:
            if goes_on and response.status == 206:
                if not self._continues(response):
                    self._has_ranges = False
                    raise TryAgain("the server sends another range than it was asked for", status=206)
            elif response.status == 200:
                self._running, self._read = hashlib.sha256(), 0
            else:
                raise await self._wire.verdict_on(response)
            while data := await self._wire.read(response, _BLOCK):
                await asyncio.to_thread(self._running.update, data)
                self._read += len(data)
                if self._read > self._size:
                    raise NotVerified(f"{self._url} has more than the {self._size} bytes that were sent")
                if self._read > self._furthest:
                    self._furthest = self._read
                    self._patience.progressed()
        if self._read < self._size:
            if response.content_length is not None:
                raise NotVerified(f"{self._url} has {self._read} of the {self._size} bytes that were sent")
            # What ends with its connection may have been cut.
            raise TryAgain("the server closed the connection", status=response.status)
        return self._running.digest()

    def _continues(self, response: aiohttp.ClientResponse) -> bool:
        """Whether what comes belongs behind what was read."""
        match = _CONTINUED.match(response.headers.get("Content-Range", ""))
        return match is not None and int(match[1]) == self._read
