"""The door of the uploader: one client for each server, and `upload` for one file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp

from tusd_py.client.errors import StoreUnusable
from tusd_py.client.feasible import checked
from tusd_py.client.gate import Gate
from tusd_py.client.pace import Bucket
from tusd_py.client.patience import Patience
from tusd_py.client.records import OnEvent, Options, Uploaded, Warned, tell_nobody
from tusd_py.client.remembering import Arrivals
from tusd_py.client.source import FileSource, PipeSource
from tusd_py.client.uploader import Uploader
from tusd_py.client.urlstore import UrlStore
from tusd_py.client.wire import Wire
from tusd_py.protocol.tus1_client import Offer, discover_head, read_offer, read_terminated, terminate_head


class Client:
    """Uploads to one server: one set of connections and one limit of the rate for all of them."""

    def __init__(
        self,
        url: str,
        *,
        options: Options | None = None,
        store: UrlStore | None = None,
        batch: str | None = None,
        session: aiohttp.ClientSession | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """Make a client of the server at `url`, where uploads are created.

        Args:
            url: begins with http:// or https://.
            options: of all uploads that have none of their own. Headers, the token, `ssl`, `network_timeout` and
                `limit_rate` always count for the whole client.
            store: where unfinished uploads are remembered for the next run; None = nowhere.
            batch: a name, for many files that belong together: the store remembers those that have arrived, too, until
                `forget_arrived`, so that the next run of the same batch sends only those that are missing.
            session: used instead of one of its own, and not closed.
            on_event: is told what is about no upload of its own; `Uploader` has its own door.

        Raises:
            ValueError: the URL is none of HTTP, or an option is out of range.
        """
        self.options = checked(options or Options())
        self.wire = Wire(url, self.options, session)
        self.url = self.wire.endpoint
        """Without a user name and password."""
        self.store = store
        self.arrivals = None if store is None or batch is None else Arrivals(store, self.url, batch)
        self.bucket = Bucket(self.options.limit_rate)
        self._tell = on_event or tell_nobody
        self._offer: Offer | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.wire.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            if self.arrivals is not None:
                await self.arrivals.flush()
        except StoreUnusable as error:
            self._tell(Warned(reason=f"another run may send again what has arrived: {error.sentence}"))
        finally:
            await self.wire.__aexit__(*exc)

    async def forget_arrived(self) -> None:
        """Have the store forget what has arrived: all of it has, and is sent anew when it is asked for again."""
        try:
            if self.arrivals is not None:
                await self.arrivals.forget()
        except StoreUnusable as error:
            self._tell(Warned(reason=f"another run may take for sent what it is to send anew: {error.sentence}"))

    def uploader(
        self,
        source: Path | str | FileSource | PipeSource,
        *,
        options: Options | None = None,
        on_event: OnEvent | None = None,
    ) -> Uploader:
        """Return what uploads one file, or what comes from a pipe, when it is run.

        A source that is given open is left open. Raises `ValueError` for options that are out of range.
        """
        return Uploader(self, source, options=checked(options or self.options), on_event=on_event)

    async def upload(
        self,
        source: Path | str | FileSource | PipeSource,
        *,
        options: Options | None = None,
        on_event: OnEvent | None = None,
    ) -> Uploaded:
        """Upload one file, as `uploader` and `Uploader.run` do."""
        return await self.uploader(source, options=options, on_event=on_event).run()

    async def terminate(self, url: str) -> None:
        """Remove an upload from the server. Raises `TransferFailed`; it is fine when there is none."""

        async def remove() -> None:
            read_terminated(await self.wire.ask("DELETE", url, terminate_head()))

        await Patience(self.options, Gate(), tell_nobody).insist(remove)

    async def offer(self) -> Offer:
        """Return what the server can do. It is asked until it has said so once. Raises `Verdict`, `TransferFailed`."""
        async with self._asking:
            if self._offer is None:
                self._offer = read_offer(await self.wire.ask("OPTIONS", self.url, discover_head()))
            return self._offer


async def upload(
    source: Path | str,
    url: str,
    *,
    store: UrlStore | Literal["default"] | None = "default",
    on_event: OnEvent | None = None,
    **options: Any,
) -> Uploaded:
    """Upload one file to the server at `url`; a call after one that was cut short goes on where that was.

    Args:
        source: path of the file.
        url: where the server creates uploads.
        store: where unfinished uploads are remembered; "default" = the user's, None = nowhere.
        on_event: is told what happens.
        options: fields of `Options`.

    Raises:
        TransferFailed: it has not arrived; which kind says why.
        ValueError, TypeError: the URL or an option cannot be.
    """
    if store == "default":
        store = _default_store(on_event or tell_nobody)
    async with Client(url, options=Options(**options), store=store) as client:
        return await client.upload(source, on_event=on_event)


def _default_store(tell: OnEvent) -> UrlStore | None:
    try:
        return UrlStore()
    except StoreUnusable as error:
        tell(Warned(reason=error.sentence))
        return None
