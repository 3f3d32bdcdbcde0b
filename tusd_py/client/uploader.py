"""One upload, from the file to the URL of what has arrived.

`Uploader.run` reads as its story: what the server can do, what an earlier run has left, lanes that bring the bytes (see
`lane`), parts that are put together, and what has arrived compared with what was sent.
"""

from __future__ import annotations

import mimetypes
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tusd_py.client.errors import GaveUp, NotVerified, Refused, SourceChanged, TransferFailed
from tusd_py.client.feasible import check_offer
from tusd_py.client.gate import Gate
from tusd_py.client.lane import MOST_RESTARTS, Course, Lane, goes_with_creation
from tusd_py.client.patience import Patience
from tusd_py.client.pieces import FilePieces, Pieces, PipePieces, split
from tusd_py.client.progress import telling
from tusd_py.client.records import (
    Checking,
    Created,
    Finished,
    OnEvent,
    Options,
    Progress,
    Resumed,
    Uploaded,
    tell_nobody,
)
from tusd_py.client.remembering import Memory, remembering
from tusd_py.client.source import FileSource, PipeSource
from tusd_py.client.together import together
from tusd_py.client.verifying import verify
from tusd_py.protocol.tus1_client import Gone, Offer, Verdict, concat_head, read_created, terminate_head

if TYPE_CHECKING:
    from tusd_py.client.client import Client

COPYING_RATE = 10_000_000
"""Bytes per second with which any server puts parts together."""


class Uploader:
    """Uploads one source, once."""

    def __init__(
        self,
        client: Client,
        source: Path | str | FileSource | PipeSource,
        *,
        options: Options,
        on_event: OnEvent | None,
    ) -> None:
        """Use `Client.uploader`."""
        self._client = client
        self._source = source
        self._options = options
        self._tell = on_event or tell_nobody
        self._gate = Gate()
        self._lanes: list[Lane] = []
        self._began_at = 0.0

    @property
    def paused(self) -> bool:
        """Whether there is a pause."""
        return self._gate.closed

    def pause(self) -> None:
        """Cut what is running, and send nothing until `resume`. What the server has by then is kept."""
        self._gate.close()

    def resume(self) -> None:
        """Go on after a pause."""
        self._gate.open()

    @property
    def offset(self) -> int:
        """Bytes that the server has, as far as can be told now."""
        return sum(lane.position for lane in self._lanes)

    @property
    def size(self) -> int | None:
        """Bytes in all; None = not known yet."""
        return None if isinstance(self._source, Path | str) else self._source.size

    @property
    def sent(self) -> int:
        """Bytes of bodies that were sent until now."""
        return sum(lane.sent for lane in self._lanes)

    async def run(self) -> Uploaded:
        """Upload, resume or upload anew, until everything has arrived. May be called once.

        Cancelling it leaves everything as it is: another run goes on, unless the source is a pipe.

        Raises:
            TransferFailed: of the kind that says why. `SourceChanged` removes what the server has.
        """
        self._began_at = time.monotonic()
        async with self._opened() as source:
            offer = await self._new_patience().insist(self._client.offer)
            check_offer(source, offer)
            async with self._remembering(source, offer) as memory:
                return await self._transfer(source, offer, memory)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[FileSource | PipeSource]:
        if not isinstance(self._source, Path | str):
            yield self._source
            return
        self._source = source = await FileSource.open(self._source)
        try:
            yield source
        finally:
            await source.close()

    @asynccontextmanager
    async def _remembering(self, source: FileSource | PipeSource, offer: Offer) -> AsyncIterator[Memory]:
        if isinstance(source, PipeSource):
            # Its bytes can be had only once: no other run could go on.
            yield Memory((None,))
            return
        parts = self._options.parallel if offer.offers("concatenation") else 1
        async with remembering(
            self._client.store,
            source,
            self._client.url,
            parts=len(split(source.size, parts)),
            is_brief=goes_with_creation(source.size, offer),
            tell=self._tell,
            arrivals=self._client.arrivals,
        ) as memory:
            yield memory

    async def _transfer(self, source: FileSource | PipeSource, offer: Offer, memory: Memory) -> Uploaded:
        course = Course(
            wire=self._client.wire,
            endpoint=self._client.url,
            offer=offer,
            metadata=_metadata(source, self._options),
            memory=memory,
            gate=self._gate,
            tell=self._tell,
        )
        pieces = self._pieces(source, offer, len(memory.urls))
        self._lanes = [
            Lane(course, each, self._new_patience(), part=number, partial=len(pieces) > 1)
            for number, each in enumerate(pieces)
        ]
        try:
            with telling(self._progress, self._tell):
                url = await self._bring(course, pieces[0])
                if self._options.verify:
                    self._tell(Checking())
                    await verify(self._client.wire, url, self._known_size, pieces[0].digest(), self._new_patience())
        except TransferFailed as end:
            if isinstance(end, SourceChanged):
                await self._discard()
            if _is_final(end) or (isinstance(end, Refused) and not any(memory.urls)):
                await memory.forget()
            raise
        await memory.arrive(url)
        uploaded = self._finished(url)
        if self._client.arrivals is None:
            await memory.forget()
        return uploaded

    def _pieces(self, source: FileSource | PipeSource, offer: Offer, parts: int) -> list[Pieces]:
        """Return what each of so many uploads consists of."""
        algorithm = offer.algorithm if self._options.checksum else None
        bucket = self._client.bucket
        if isinstance(source, PipeSource):
            return [PipePieces(source, algorithm=algorithm, digest=self._options.verify, bucket=bucket)]
        chunk_size = self._options.chunk_size
        return [
            FilePieces(source, start, end, chunk_size=chunk_size, algorithm=algorithm, bucket=bucket)
            for start, end in split(source.size, parts)
        ]

    async def _bring(self, course: Course, first: Pieces) -> str:
        """Return the URL of the upload when every byte has arrived."""
        for attempt in range(MOST_RESTARTS):
            await together(lane.open() for lane in self._lanes)
            if not attempt:
                self._tell_what_began()
            urls = await together(lane.run() for lane in self._lanes)
            # Changed behind the last piece, while that was on its way: no piece was there to notice.
            first.check()
            if len(urls) == 1:
                return urls[0]
            patience = self._new_patience()
            patience.progressed()
            whole = await patience.insist(partial(self._join, course, urls))
            if whole is not None:
                return whole
        raise GaveUp("parts of the upload were lost again and again before they could be put together")

    async def _join(self, course: Course, urls: Sequence[str]) -> str | None:
        """Have the parts put together. Return the URL of the whole; None = some of them are not there any more."""
        head = concat_head(urls, course.metadata, key=course.key_of("final"))
        # Many copy them. To ask again would have them copied again, where the key of the creation is not known.
        work = self._known_size / COPYING_RATE
        try:
            answer = await course.wire.ask("POST", course.endpoint, head, work=work)
            return read_created(answer, course.endpoint).url
        except Gone:
            for lane in self._lanes:
                lane.doubt()
            return None

    async def _discard(self) -> None:
        """Remove what the server has of a file that is another one now, if it can be reached."""

        async def remove(url: str) -> None:
            with suppress(Verdict, TransferFailed):
                await self._client.wire.ask("DELETE", url, terminate_head())

        await together(remove(lane.url) for lane in self._lanes if lane.url is not None)

    def _new_patience(self) -> Patience:
        return Patience(self._options, self._gate, self._tell)

    def _tell_what_began(self) -> None:
        url, parts = self._lanes[0].url or "", len(self._lanes)
        if any(lane.resumed for lane in self._lanes):
            self._tell(Resumed(url=url, size=self.size, offset=self.offset, parts=parts))
        else:
            self._tell(Created(url=url, size=self.size, parts=parts))

    @property
    def _known_size(self) -> int:
        assert self.size is not None, "an upload that has arrived has an end"
        return self.size

    def _progress(self) -> Progress:
        return Progress(offset=self.offset, size=self.size, sent=self.sent)

    def _finished(self, url: str) -> Uploaded:
        size, seconds = self._known_size, time.monotonic() - self._began_at
        what = Uploaded(url=url, size=size, sent=self.sent, seconds=seconds, verified=self._options.verify)
        self._tell(Finished(url=url, size=size, sent=what.sent, seconds=seconds, verified=what.verified))
        return what


def _is_final(end: TransferFailed) -> bool:
    """Whether there is nothing for another run to go on with: it would come to the same end."""
    return isinstance(end, SourceChanged | NotVerified) or (
        isinstance(end, Refused) and end.error == "ERR_UPLOAD_REJECTED"
    )


def _metadata(source: FileSource | PipeSource, options: Options) -> dict[str, str]:
    if isinstance(source, PipeSource):
        return dict(options.metadata)
    kind, encoding = mimetypes.guess_type(source.name)
    known = {"filename": source.name}
    if kind is not None and encoding is None:
        known["filetype"] = kind
    return {**known, **options.metadata}
