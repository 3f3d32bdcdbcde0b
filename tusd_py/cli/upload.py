"""`tusd-py upload`: files, folders and pipes to any tus server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import click
from msgspec.structs import replace

from tusd_py.cli.display import Display, open_display
from tusd_py.cli.ending import BY_SIGNAL, Interrupted, carry_out, interruptible
from tusd_py.cli.gathering import PIPE, PIPE_SHOWN, Item, gather
from tusd_py.cli.text import printable
from tusd_py.cli.transfer_options import (
    EXIT_CODES,
    KindType,
    Pair,
    UrlType,
    explain,
    one_each,
    read_options,
    together,
    transfer_options,
)
from tusd_py.client.client import Client
from tusd_py.client.errors import GaveUp, NotATusServer, SourceUnusable, StoreUnusable, Untrusted
from tusd_py.client.feasible import MOST_PARTS
from tusd_py.client.records import Event, Finished, Options, Warned
from tusd_py.client.source import WINDOW, PipeSource
from tusd_py.client.urlstore import UrlStore
from tusd_py.errors import InvalidMetadata
from tusd_py.protocol.metadata import format_metadata
from tusd_py.settings import kinds

_MOST_JOBS = 256
_OF_THE_SERVER = (NotATusServer, Untrusted)
"""What is wrong with the server, and would be for each other file."""


def _wrong_with_metadata(key: str, value: str) -> str:
    try:
        format_metadata({key: value})
    except InvalidMetadata:
        return "a key is not empty, in printable ASCII, and has no space or comma in it"
    except UnicodeEncodeError:
        return "a value is text"
    return ""


@click.command(epilog=EXIT_CODES)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.argument("url", type=UrlType())
@click.option("--recursive", "-r", is_flag=True, help="Send the files in folders, too.")
@click.option(
    "--metadata",
    "-m",
    type=Pair("=", _wrong_with_metadata),
    multiple=True,
    callback=one_each,
    metavar="KEY=VALUE",
    help="Tell the server this of each file; may be given more than once. filename and filetype are told anyway.",
)
@click.option(
    "--jobs", type=KindType(kinds.whole("N", 1, _MOST_JOBS)), default=3, show_default=True, help="Files at once."
)
@click.option(
    "--parallel",
    type=KindType(kinds.whole("N", 1, MOST_PARTS)),
    default=1,
    show_default=True,
    help="Parts of one file at once, when the server can put them together.",
)
@click.option("--chunk-size", type=KindType(kinds.size()), help="Most bytes in one request.")
@click.option("--checksum", is_flag=True, help="Have the server check each request, when it can.")
@click.option("--verify", is_flag=True, help="Compare what has arrived with what was sent.")
@click.option("--no-store", is_flag=True, help="Remember nothing for the next run, and nothing of earlier ones.")
@transfer_options
@click.pass_context
def upload(ctx: click.Context, /, files: tuple[str, ...], recursive: bool, **flags: Any) -> None:
    """Upload files to a tus server, and go on with what an earlier run has begun.

    URL is where uploads are created, FILE a file, with --recursive a folder, or - for standard input. What fails is
    tried again. After Ctrl-C, a crash or a reboot the same command goes on where it was, as long as the file is
    the same.

    Prints the URL of each upload that has arrived; for several files with a tab and the file behind it.
    """
    if files.count(PIPE) > 1:
        raise click.UsageError("Standard input can be sent once.", ctx)
    own = {name: flags[name] for name in ("metadata", "parallel", "chunk_size", "checksum", "verify")}
    options = read_options(ctx, **own)
    notes: list[str] = []
    try:
        found = gather(files, recursive=recursive, note=notes.append)
        sizes = [*(item.size for item in found.items), *(0 for _ in found.failures)]
        display = open_display(sizes, as_json=flags["as_json"], quiet=flags["quiet"])
        for note in notes if sizes else [*notes, "there is nothing to send"]:
            display.note(note)
        store = None if flags["no_store"] else _open_store(display)
        sending = Sending(display, found.items, options, store, batch=_name_of_batch(files))
        for file, failure in found.failures:
            sending.fail(file, failure)
        ctx.exit(carry_out(sending.run(flags["url"], flags["jobs"]), display))
    except KeyboardInterrupt:
        ctx.exit(BY_SIGNAL + signal.SIGINT)


def _name_of_batch(files: Sequence[str]) -> str:
    """Return what is the same for the same command in the same place."""
    return hashlib.sha256(repr((os.getcwd(), files)).encode(errors="backslashreplace")).hexdigest()


def _open_store(display: Display) -> UrlStore | None:
    try:
        return UrlStore()
    except StoreUnusable as error:
        display.note(f"warning: uploads cannot be resumed by another run: {error.sentence}")
        return None


class Sending:
    """Sends some files, a few at a time. However many there are, it holds only those that are on their way."""

    def __init__(
        self, display: Display, items: Iterable[Item], options: Options, store: UrlStore | None, *, batch: str
    ) -> None:
        self._display = display
        self._left = iter(items)
        self._options = options
        self._store = store
        self._batch = batch
        self._codes: list[int] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._remembered = store is not None

    def fail(self, file: str, error: Exception) -> None:
        """Count a file that does not arrive, and say why."""
        failure = explain(error)
        self._codes.append(failure.exit_code)
        self._display.fail(file, failure)

    async def run(self, url: str, jobs: int) -> int:
        """Send all files; return the exit code. Ended by a signal, it says what becomes of them."""
        try:
            await interruptible(self._send_all(url, jobs), abandon=self._display.close)
            return together(self._codes)
        except Interrupted as interrupted:
            self._display.say(self._farewell(), error=True)
            return interrupted.exit_code

    async def _send_all(self, url: str, jobs: int) -> None:
        batch = self._batch if self._display.tally.files > 1 else None
        async with (
            self._display,
            Client(url, options=self._options, store=self._store, batch=batch, on_event=self._note) as client,
        ):
            async with asyncio.TaskGroup() as group:
                for _ in range(jobs):
                    group.create_task(self._work(client))
            if not any(self._codes):
                await client.forget_arrived()

    async def _work(self, client: Client) -> None:
        while item := next(self._left, None):
            async with self._alone(item):
                await self._send(client, item)

    @asynccontextmanager
    async def _alone(self, item: Item) -> AsyncIterator[None]:
        """Wait until nobody sends the same file under another name: they would be in each other's way."""
        path = await asyncio.to_thread(os.path.realpath, item.path)
        async with self._locks.setdefault(path, asyncio.Lock()):
            yield

    async def _send(self, client: Client, item: Item) -> None:
        display, tally = self._display, self._display.tally
        options = replace(self._options, metadata={**item.metadata, **self._options.metadata})
        arrived = tally.arrived
        display.begin(item.shown, item.size)
        try:
            source = _pipe(options) if item.path == PIPE else item.path
            await client.upload(source, options=options, on_event=partial(self._tell, item))
        except Exception as error:  # noqa: BLE001 - one file must not take the others with it
            self.fail(item.shown, error)
            if isinstance(error, _OF_THE_SERVER) or (isinstance(error, GaveUp) and tally.arrived == arrived):
                self._left = iter(())

    def _note(self, event: Event) -> None:
        if isinstance(event, Warned):
            self._display.note(f"warning: {event.reason}")

    def _tell(self, item: Item, event: Event) -> None:
        if isinstance(event, Warned):
            self._remembered = False
        self._display.show(item.shown, event)
        if isinstance(event, Finished):
            several = self._display.tally.files > 1
            self._display.result(f"{event.url}\t{printable(item.path)}" if several else event.url)

    def _farewell(self) -> str:
        tally = self._display.tally
        if PIPE_SHOWN in tally.rows:
            return f"interrupted; {PIPE_SHOWN} cannot be read again, so its upload cannot go on"
        if not self._remembered:
            return "interrupted; nothing was remembered, so the same command begins anew"
        return "interrupted; nothing that has arrived is lost, and the same command goes on from there"


def _pipe(options: Options) -> PipeSource:
    if sys.stdin is None:
        raise SourceUnusable(f"{PIPE_SHOWN} is closed")
    return PipeSource(sys.stdin.fileno(), chunk_size=options.chunk_size or WINDOW)
