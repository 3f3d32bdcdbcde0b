"""What another run has to know of an upload, and whether it can be remembered at all."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec.structs import replace

from tusd_py.client.errors import StoreUnusable
from tusd_py.client.records import OnEvent, Restarted, Warned
from tusd_py.client.source import FileSource
from tusd_py.client.urlstore import Stored, UrlStore

_SOON = 1.0
"""Seconds within which what has arrived is written down."""


class Memory:
    """Where the parts of one upload are, and the key of its creation. Ends with the run."""

    def __init__(self, urls: tuple[str | None, ...], key: str | None = None) -> None:
        self.urls = urls
        """Of the upload, or of its parts in their order; None = not created yet."""
        self.key = key or uuid.uuid4().hex
        """What its creation is known by: the same in each run, another one for another upload."""

    async def note(self, part: int, url: str | None) -> None:
        """Remember the URL of a part."""
        urls = list(self.urls)
        urls[part] = url
        self.urls = tuple(urls)
        await self.save()

    async def begin_anew(self, part: int) -> None:
        """Forget the URL of a part. Its next creation has another key: it is not the one that is gone."""
        self.key = uuid.uuid4().hex
        await self.note(part, None)

    async def save(self) -> None:
        """Keep what has changed for other runs."""

    async def arrive(self, url: str) -> None:
        """Remember that all of it is at a URL. Called before anybody is told: who was not told asks again."""

    async def forget(self) -> None:
        """Keep nothing any more."""


class Arrivals:
    """What has arrived in this run, known to the store until all of it has: another run does not send it again."""

    def __init__(self, store: UrlStore, endpoint: str, batch: str) -> None:
        self._store = store
        self._endpoint = endpoint
        self._batch = batch
        self._paths: list[str] = []
        self._waiting: list[Stored] = []
        self._noted_at = time.monotonic()
        self._secret: str | None = None
        self._asking = asyncio.Lock()

    async def key_for(self, source: FileSource) -> str:
        """Return what the creation for a file is known by, in this run and in those that go on with it.

        One write for all files: a row for each, before it is sent, would cost more than many a file. Raises
        `StoreUnusable`.
        """
        async with self._asking:
            self._secret = self._secret or await self._store.begin_run(self._endpoint, self._batch)
        known = repr((self._secret, str(source.path), source.fingerprint)).encode(errors="backslashreplace")
        return hashlib.sha256(known).hexdigest()[:32]

    def add(self, path: str) -> None:
        """Add a file whose upload the store knows."""
        self._paths.append(path)

    async def note(self, stored: Stored) -> None:
        """Add a file whose upload the store does not know, and have it known soon. Raises `StoreUnusable`."""
        self._waiting.append(stored)
        self.add(stored.path)
        # Each write costs the disk several syncs, as much as many small uploads do.
        if time.monotonic() - self._noted_at > _SOON:
            await self.flush()

    async def flush(self) -> None:
        """Have the store know all of them. Raises `StoreUnusable`."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            await self._store.remember(*waiting)
        self._noted_at = time.monotonic()

    async def forget(self) -> None:
        """Have the store know none of them any more. Raises `StoreUnusable`."""
        paths, self._paths, self._waiting = self._paths, [], []
        self._secret = None
        if paths:
            await self._store.end_run(self._endpoint, self._batch, paths)


class LastingMemory(Memory):
    """Outlives the process, as long as its store is usable."""

    def __init__(self, store: UrlStore, stored: Stored, tell: OnEvent, arrivals: Arrivals | None) -> None:
        super().__init__(stored.urls, stored.key)
        self._store: UrlStore | None = store
        self._saved = stored
        self._saving = asyncio.Lock()
        self._tell = tell
        self._arrivals = arrivals

    async def save(self) -> None:
        """Write what has changed. Tells when that cannot be done, and goes on without a store."""
        async with self._saving:
            now = replace(self._saved, key=self.key, urls=self.urls)
            if self._store is None or now == self._saved:
                return
            try:
                await self._store.remember(now)
                self._saved = now
            except StoreUnusable as error:
                self._give_up(error)

    async def arrive(self, url: str) -> None:
        """Keep the URL of the whole, or nothing: as whoever runs this wants it."""
        self.urls = (url,)
        await self.save()
        if self._arrivals is not None and self._store is not None:
            self._arrivals.add(self._saved.path)

    async def forget(self) -> None:
        """Take it out of the store."""
        async with self._saving:
            if self._store is not None:
                try:
                    await self._store.forget(self._saved.path, endpoint=self._saved.endpoint)
                except StoreUnusable as error:
                    self._give_up(error)
            self._store = None

    def _give_up(self, error: StoreUnusable) -> None:
        self._store = None
        self._tell(warning(error))


class BriefMemory(Memory):
    """Of an upload that is made in one request: there is nothing to go on with, only that it has arrived."""

    def __init__(self, stored: Stored, tell: OnEvent, arrivals: Arrivals) -> None:
        super().__init__(stored.urls, stored.key)
        self._stored = stored
        self._tell = tell
        self._arrivals = arrivals

    async def arrive(self, url: str) -> None:
        """Have the store know the URL soon."""
        try:
            await self._arrivals.note(replace(self._stored, key=self.key, urls=(url,)))
        except StoreUnusable as error:
            self._tell(warning(error))


@asynccontextmanager
async def remembering(
    store: UrlStore | None,
    source: FileSource,
    endpoint: str,
    *,
    parts: int,
    is_brief: bool,
    tell: OnEvent,
    arrivals: Arrivals | None,
) -> AsyncIterator[Memory]:
    """Be the only one to upload this file, and know what an earlier run has left.

    Args:
        store: None = nothing outlives this run.
        source: what is uploaded.
        endpoint: URL at which uploads are created.
        parts: how many uploads there will be, when there is nothing to go on with.
        is_brief: whether it will be made in one request; of a single file that makes no difference.
        tell: is told when the store is unusable, or the file is another one now.
        arrivals: keeps what has arrived; None = it is forgotten.

    Raises:
        SourceBusy: somebody else is uploading it.
    """
    memory = Memory((None,) * parts)
    async with AsyncExitStack() as stack:
        if store is not None:
            try:
                await stack.enter_async_context(store.claim(str(source.path), endpoint))
                memory = await _recall(store, source, endpoint, memory, is_brief=is_brief, tell=tell, arrivals=arrivals)
            except StoreUnusable as error:
                tell(warning(error))
        try:
            yield memory
        finally:
            # A cancellation may have come between an answer and its note.
            await memory.save()


async def _recall(
    store: UrlStore,
    source: FileSource,
    endpoint: str,
    fresh: Memory,
    *,
    is_brief: bool,
    tell: OnEvent,
    arrivals: Arrivals | None,
) -> Memory:
    """Return what is known of the upload of a file; else `fresh`, which the store knows then unless it is brief."""
    found = await store.find(str(source.path), endpoint)
    if found is not None and found.fingerprint == source.fingerprint:
        return LastingMemory(store, found, tell, arrivals)
    if found is not None:
        # What the server has of the other file stays there: perhaps it had arrived, and somebody wants it.
        tell(Restarted(reason="the file was changed since its upload was begun"))
    now = time.time()
    stored = Stored(
        path=str(source.path),
        endpoint=endpoint,
        fingerprint=source.fingerprint,
        key=fresh.key,
        urls=fresh.urls,
        created_at=now,
        updated_at=now,
    )
    if is_brief and arrivals is not None:
        return BriefMemory(replace(stored, key=await arrivals.key_for(source)), tell, arrivals)
    # Before anything is created: if the answer to that is lost, the key is known.
    await store.remember(stored)
    return LastingMemory(store, stored, tell, arrivals)


def warning(error: StoreUnusable) -> Warned:
    """Return what is told when the store cannot be used for an upload."""
    return Warned(reason=f"another run could not go on with this upload: {error.sentence}")
