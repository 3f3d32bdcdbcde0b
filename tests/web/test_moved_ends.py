"""Moved bodies that others end, look at, verify or cut: what counts afterwards (protocol 2.5 and 9)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.stores.moving import Disk
from tests.support.client import CT, Client, T
from tests.support.servers import Target, process, running, serve
from tests.support.waiting import until
from tests.support.wire import Wire
from tests.web.moved import MIB, is_moving, start_moved, ways
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.stores import posix
from tusd_py.stores.descriptor import Descriptor
from tusd_py.stores.file import FileData, FileDataStore

DATA = os.urandom(6 * MIB)
PART = 2 * MIB + 77


@pytest.fixture
async def moved(tmp_path: Path) -> AsyncIterator[Target]:
    """A server that moves whatever it can, and commits every 512 KiB inside a body."""
    async with serve("moved", tmp_path / "data", checkpoint_bytes=MIB // 2) as target:
        yield target


@pytest.fixture
def client(moved: Target, session: aiohttp.ClientSession) -> Client:
    return Client(session, moved.url)


async def begin(moved: Target, url: str, **headers: str) -> Wire:
    """Send a part of a body that is moved, and wait until it is stored."""
    wire = await start_moved(moved, url, len(DATA), headers={key.replace("_", "-"): headers[key] for key in headers})
    wire.send(DATA[:PART])
    await moved.until_stored(url, PART)
    return wire


def checksum(algorithm: str, data: bytes) -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


async def interrupted(wire: Wire) -> None:
    """Check the answer of a PATCH that somebody else has ended, and that nothing it still sends is a request."""
    answer = await wire.answer()
    assert (answer.status, answer.code) == (400, "ERR_UPLOAD_INTERRUPTED")
    assert answer.headers["Connection"].lower() == "close"
    wire.send(b"HEAD /files/ HTTP/1.1\r\nHost: x\r\n\r\n")
    wire.finish()
    assert await wire.closed() == b""


async def test_patch_takes_over(moved: Target, client: Client) -> None:
    """PATCH ends a moved PATCH, whose bytes all count, and goes on where that one stood. (CONC-04, CONC-06, I4)."""
    url = await client.create(len(DATA))
    async with await begin(moved, url) as wire:
        early = await client.patch(url, 0, DATA)
        assert (early.status, early.offset) == (409, PART)
        await interrupted(wire)
    async with await start_moved(moved, url, len(DATA) - PART, offset=PART) as first:
        answer = await client.patch(url, PART, DATA[PART:])
        assert (answer.status, answer.offset) == (204, len(DATA))
        await interrupted(first)
    assert moved.data_path(url).read_bytes() == DATA


async def test_racing_bodies_do_not_mix(moved: Target, client: Client) -> None:
    """A PATCH that has been taken over and goes on sending changes no byte of the one that follows it. (CONC-01)."""
    url = await client.create(len(DATA))
    async with await begin(moved, url) as loser:
        winner = await Wire.open(url)
        async with winner:
            winner.start_patch(url, PART, {"Content-Length": str(len(DATA) - PART)})
            assert (await loser.answer()).code == "ERR_UPLOAD_INTERRUPTED"
            loser.send(b"X" * MIB)
            await until(lambda: is_moving(moved, url))
            winner.send(DATA[PART:])
            assert (await winner.answer()).status == 204
    assert moved.data_path(url).read_bytes() == DATA


async def test_delete_takes_over(moved: Target, client: Client) -> None:
    """DELETE ends a moved PATCH and removes the upload; nothing is written behind it. (CONC-04, I12)."""
    url = await client.create(len(DATA))
    async with await begin(moved, url) as wire:
        assert (await client.delete(url)).status == 204
        await interrupted(wire)
    assert (await client.head(url)).status == 404
    assert not moved.data_path(url).exists()


async def test_head_shows_checkpoints(moved: Target, client: Client) -> None:
    """HEAD shows what a moved PATCH has committed, never less than before, and disturbs nobody. (CORE-HEAD-10, I3)."""
    url = await client.create(len(DATA))
    async with await start_moved(moved, url, len(DATA)) as wire:
        seen = [await client.offset(url)]
        assert seen == [0]
        for sent in range(0, len(DATA), MIB):
            before = seen[-1]
            wire.send(DATA[sent : sent + MIB])
            if sent + MIB < len(DATA):
                await until(lambda least=before: _has_grown(client, url, least, seen))  # type: ignore[misc]
                assert seen[-1] <= sent + MIB
        assert (await wire.answer()).status == 204
    assert seen == sorted(seen)
    assert moved.data_path(url).read_bytes() == DATA
    assert ways(moved) == (len(DATA), 0)


async def _has_grown(client: Client, url: str, least: int, seen: list[int]) -> bool:
    seen.append(await client.offset(url))
    return seen[-1] > least


async def test_head_waits_for_the_end(moved: Target, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that lost its connection and asks at once is told all that it had sent. (CORE-HEAD-10, I3)."""
    disk = Disk(monkeypatch)
    url = await client.create(len(DATA))
    async with await begin(moved, url) as wire:
        disk.hold()
        try:
            wire.send(b"more")
            await disk.stood_still()
            wire.finish()
            asking = asyncio.create_task(client.offset(url))
            await until(lambda: _is(asking.done() or _is_waited_for(moved, url)))
            assert not asking.done()
        finally:
            disk.let_go()
        assert await asking == PART + 4


def _is_waited_for(moved: Target, url: str) -> bool:
    """Whether somebody waits for the upload that a PATCH holds."""
    assert moved.tus is not None
    locker = moved.tus.engine._ctx.locker
    assert isinstance(locker, MemoryLocker)
    return bool(locker._lines[url.rpartition("/")[2]].waiters)


async def test_interrupted_before_it_is_moved(moved: Target, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A take-over that comes while the store gets ready ends the body that is about to be moved. (CONC-04)."""
    gate, entered, write_to = asyncio.Event(), asyncio.Event(), FileDataStore.write_to

    async def wait(self: FileDataStore, upload_id: str, **options: Any) -> FileData:
        entered.set()
        await gate.wait()
        return await write_to(self, upload_id, **options)

    url = await client.create(len(DATA))
    monkeypatch.setattr(FileDataStore, "write_to", wait)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": str(len(DATA))})
        await asyncio.wait_for(entered.wait(), 10)
        deleting = asyncio.create_task(client.delete(url))
        await until(lambda: _is(_is_waited_for(moved, url)))
        gate.set()
        await interrupted(wire)
        assert (await deleting).status == 204


async def test_what_comes_during_a_checkpoint(moved: Target, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body goes on while its offset is committed, and what comes last counts, however it ends. (CORE-BODY-03)."""
    syncs, goes_on, sync = threading.Event(), threading.Event(), posix.sync

    def hang(data: Descriptor) -> None:
        syncs.set()
        assert goes_on.wait(10)
        sync(data)

    url = await client.create(len(DATA))
    async with await start_moved(moved, url, len(DATA)) as wire:
        monkeypatch.setattr(posix, "sync", hang)
        try:
            wire.send(DATA[:MIB])
            await until(lambda: _is(syncs.is_set()))
            wire.send(DATA[MIB:PART])
            await moved.until_stored(url, PART)
            wire.finish()
            await until(lambda: _is_over(moved, url))
        finally:
            goes_on.set()
        await until(lambda: _is(not _is_receiving(moved, url)))
    assert await client.offset(url) == PART


async def _is_over(moved: Target, url: str) -> bool:
    return _is_receiving(moved, url) and not await is_moving(moved, url)


async def test_a_host_that_loses_patience(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A middleware that cancels a request ends its moved body, whose client is still there; no lock stays. (I10)."""
    patience = asyncio.Event()

    @web.middleware
    async def impatient(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method != "PATCH" or patience.is_set():
            return await handler(request)  # type: ignore[no-any-return]
        handling = asyncio.ensure_future(handler(request))
        await patience.wait()
        handling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await handling
        raise web.HTTPGatewayTimeout

    app = web.Application(middlewares=[impatient])
    tus = tusd_py.setup(app, "/files", data_dir=tmp_path / "data", data_plane_from=1)
    async with running(app, lingering_time=0.1) as base:
        moved = Target(f"{base}/files/", tmp_path / "data", "moved", tus=tus)
        client = Client(session, moved.url)
        url = await client.create(len(DATA))
        async with await begin(moved, url) as wire:
            patience.set()
            assert (await wire.answer()).status == 504
            await until(lambda: _is(not _is_receiving(moved, url)))
            assert await client.offset(url) == PART
            wire.send(b"HEAD /files/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await wire.closed() == b""
        assert (await client.patch(url, PART, DATA[PART:])).status == 204
        assert moved.data_path(url).read_bytes() == DATA


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_checksum(moved: Target, client: Client, algorithm: str) -> None:
    """A moved body is verified to its last byte: only a right checksum makes it count. (CSUM-01 to -03, I6)."""
    url = await client.create(len(DATA))
    for wrong in (DATA[:-1] + bytes([DATA[-1] ^ 1]), bytes([DATA[0] ^ 1]) + DATA[1:]):
        async with await start_moved(
            moved, url, len(DATA), headers={"Upload-Checksum": checksum(algorithm, DATA)}
        ) as wire:
            wire.send(wrong)
            assert (await wire.answer()).status == 460
        assert await client.offset(url) == 0
        assert moved.stored(url) == 0
    async with await start_moved(moved, url, len(DATA), headers={"Upload-Checksum": checksum(algorithm, DATA)}) as wire:
        wire.send(DATA)
        assert (await wire.answer()).status == 204
    assert moved.data_path(url).read_bytes() == DATA
    assert ways(moved) == (3 * len(DATA), 0)


@pytest.mark.parametrize("end", [Wire.finish, Wire.reset], ids=["fin", "rst"])
async def test_checksum_of_a_cut_body(moved: Target, client: Client, end: Callable[[Wire], None]) -> None:
    """Nothing counts of a body that was cut before it could be verified, nor has a checkpoint counted it. (CSUM-09)."""
    url = await client.create(len(DATA))
    async with await begin(moved, url, Upload_Checksum=checksum("sha1", DATA)) as wire:
        assert await client.offset(url) == 0
        end(wire)
        await until(lambda: _is(not _is_receiving(moved, url)))
    assert await client.offset(url) == 0
    assert moved.stored(url) == 0
    assert (await client.patch(url, 0, DATA)).status == 204


async def test_creation_that_is_cut(moved: Target, client: Client) -> None:
    """A POST whose moved body is cut leaves an upload with what arrived, and no lock. (CWU-10)."""
    async with await Wire.open(client.base) as wire:
        headers = {"Upload-Length": str(len(DATA)), "Content-Length": str(len(DATA))}
        wire.start("POST", client.base, {**T, **CT, **headers})
        await until(lambda: _is(bool(_receiving(moved))))
        (name,) = _receiving(moved)
        await until(lambda: is_moving(moved, f"/{name}"))
        wire.send(DATA[:PART])
        await moved.until_stored(client.base + name, PART)
        wire.reset()
        await until(lambda: _is(not _receiving(moved)))
    assert await client.offset(client.base + name) == PART
    assert (await client.patch(client.base + name, PART, DATA[PART:])).status == 204
    assert (await client.get(client.base + name)).body == DATA


async def test_a_checkpoint_that_fails(moved: Target, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that fails under a moved body ends it with 500; nothing since the last commit counts. (I9)."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    url = await client.create(len(DATA))
    async with await start_moved(moved, url, len(DATA)) as wire:
        wire.send(DATA[:PART])
        await until(lambda: _has_offset(client, url, MIB // 2))
        await moved.until_stored(url, PART)
        await until(lambda: _has_settled(client, url))
        committed = await client.offset(url)
        with monkeypatch.context() as patch:
            patch.setattr(posix, "sync", broken)
            wire.send(DATA[PART : 2 * PART])
            answer = await wire.answer()
        assert (answer.status, answer.code) == (500, "ERR_INTERNAL_SERVER_ERROR")
        assert answer.headers["Connection"].lower() == "close"
    assert await client.offset(url) == committed
    assert (await client.patch(url, committed, DATA[committed:])).status == 204
    assert moved.data_path(url).read_bytes() == DATA


async def _has_offset(client: Client, url: str, least: int) -> bool:
    return await client.offset(url) >= least


async def _has_settled(client: Client, url: str) -> bool:
    """Whether less is missing from the offset than makes a checkpoint."""
    return PART - await client.offset(url) < MIB // 2


async def test_a_disk_that_hangs(moved: Target, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk hangs below a moved body, HEAD and others are answered, and it is not cut. (I11, CORE-HEAD-10)."""
    disk = Disk(monkeypatch)
    url, other = await client.create(len(DATA)), await client.create(10)
    async with await begin(moved, url) as wire:
        disk.hold()
        try:
            wire.send(DATA[PART:])
            await disk.stood_still()
            assert moved.tus is not None
            body = moved.tus.engine._ctx.receiving[url.rpartition("/")[2]]
            body._transfer.moved_at -= 60  # type: ignore[attr-defined]
            assert await client.offset(url) <= PART
            assert await client.offset(other) == 0
            assert (await client.delete(other)).status == 204
        finally:
            disk.let_go()
        assert (await wire.answer()).status == 204
    assert moved.data_path(url).read_bytes() == DATA


@pytest.mark.parametrize("end", [Wire.finish, Wire.reset], ids=["fin", "rst"])
async def test_a_host_that_cancels(tmp_path: Path, session: aiohttp.ClientSession, end: Callable[[Wire], None]) -> None:
    """Where handlers are cancelled with their clients, what arrived is kept and the lock is free. (CORE-BODY-04)."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=tmp_path / "data", data_plane_from=1)
    async with running(app, handler_cancellation=True) as base:
        moved = Target(f"{base}/files/", tmp_path / "data", "moved", tus=tus)
        client = Client(session, moved.url)
        url = await client.create(len(DATA))
        async with await begin(moved, url) as wire:
            end(wire)
            await until(lambda: _is(not _is_receiving(moved, url)))
        assert await client.offset(url) == PART
        assert (await client.patch(url, PART, DATA[PART:])).status == 204
        assert (await client.get(url)).body == DATA


async def test_sigterm(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """SIGTERM in the middle of a moved body: 503, and all that arrived is there after the restart. (CORE-BODY-17)."""
    settings = {"data_plane_from": 1}
    async with process(tmp_path / "data", **settings) as server:
        url = await Client(session, server.url).create(len(DATA))
        wire = await Wire.open(url)
        wire.start_patch(url, 0, {"Content-Length": str(len(DATA)), "Expect": "100-continue"})
        assert (await wire.answer()).status == 100
        wire.send(DATA[:PART])
        await server.until_stored(url, PART)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        answer = await wire.answer()
        assert (answer.status, answer.code) == (503, "ERR_SERVER_SHUTDOWN")
        assert answer.headers["Connection"].lower() == "close"
        wire.reset()
        assert await asyncio.wait_for(server.process.wait(), 10) == 0
    async with process(tmp_path / "data", **settings) as server:
        client, url = Client(session, server.url), server.url + url.rpartition("/")[2]
        assert await client.offset(url) == PART
        assert (await client.patch(url, PART, DATA[PART:])).status == 204
        assert (await client.get(url)).body == DATA


def _receiving(moved: Target) -> list[str]:
    assert moved.tus is not None
    return list(moved.tus.engine._ctx.receiving)


def _is_receiving(moved: Target, url: str) -> bool:
    return url.rpartition("/")[2] in _receiving(moved)


async def _is(value: bool) -> bool:
    return value
