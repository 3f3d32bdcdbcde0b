"""Several requests for one upload: who waits, who gives way, and what is left (protocol 9, CORE-HEAD-10)."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.client import Client, T
from tests.support.servers import Target, launch
from tests.support.waiting import until
from tests.support.wire import Wire

TEN = {"Content-Length": "10"}
# IPPROTO_TCP option; see tcp(7) of the CRIU project: a socket in repair mode is closed without a word to the peer.
TCP_REPAIR = 19


async def begin(server: Target, url: str, data: bytes, length: int = 10, offset: int = 0) -> Wire:
    """Send a part of a PATCH and wait until the server has it."""
    wire = await Wire.open(url)
    wire.start_patch(url, offset, {"Content-Length": str(length)})
    wire.send(data)
    await server.until_stored(url, offset + len(data))
    return wire


async def assert_interrupted(wire: Wire) -> None:
    answer = await wire.answer()
    assert (answer.status, answer.code) == (400, "ERR_UPLOAD_INTERRUPTED")
    assert answer.headers["Connection"].lower() == "close"


async def test_head_does_not_disturb(client: Client, server: Target) -> None:
    """HEAD answers at once with the committed offset and leaves a PATCH that receives bytes alone. (CORE-HEAD-10)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        started = time.monotonic()
        assert await client.offset(url) == 0
        assert time.monotonic() - started < 1.0
        wire.send(b"56789")
        answer = await wire.answer()
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "10")
    assert (await client.get(url)).body == b"0123456789"


async def test_head_shows_checkpoints(client_of: Callable[[Target], Client], hasty_server: Target) -> None:
    """HEAD shows what a running PATCH has committed so far, and the PATCH goes on. (CORE-HEAD-10)."""
    client = client_of(hasty_server)
    url = await client.create(10)
    async with await begin(hasty_server, url, b"01234") as wire:
        await until(lambda: _shows(client, url, 5))
        wire.send(b"56789")
        assert (await wire.answer()).status == 204


async def _vanish(wire: Wire) -> None:
    """Let the client disappear without FIN or RST, as a machine does that loses power."""
    sock: socket.socket = wire.writer.get_extra_info("socket")
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        pytest.skip("NOT RUN: needs root")
    wire.writer.transport.abort()


@pytest.mark.parametrize("vanished", [False, True], ids=["silent", "zombie"])
async def test_head_takes_over_from_the_silent(client: Client, server: Target, vanished: bool) -> None:
    """A PATCH that has been silent for a second is ended by HEAD: what it sent counts, and the next PATCH continues.

    (CORE-HEAD-10, CONC-02, CONC-03)
    """
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        if vanished:
            await _vanish(wire)
        started = time.monotonic()
        await until(lambda: _shows(client, url, 5), timeout=5)
        assert time.monotonic() - started < 2.5
        if not vanished:
            await assert_interrupted(wire)
        answer = await client.patch(url, 5, b"56789")
    assert (answer.status, answer.offset) == (204, 10)
    assert (await client.get(url)).body == b"0123456789"


async def test_patch_takes_over(client: Client, server: Target) -> None:
    """PATCH ends a running PATCH, keeps what it brought and is answered by the offset that is true then. (CONC-04)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        answer = await client.patch(url, 0, b"0123456789")
        assert (answer.status, answer.offset) == (409, 5)
        await assert_interrupted(wire)
    assert (await client.patch(url, 5, b"56789")).status == 204
    assert (await client.get(url)).body == b"0123456789"


async def test_patch_takes_over_where_the_other_stands(client: Client, server: Target) -> None:
    """A PATCH that knows how far the running one has come continues there. (CONC-04, CONC-06)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        answer = await client.patch(url, 5, b"56789")
        assert (answer.status, answer.offset) == (204, 10)
        await assert_interrupted(wire)
    assert (await client.get(url)).body == b"0123456789"


async def test_interrupted_with_a_checksum(client: Client, server: Target) -> None:
    """What an interrupted PATCH brought under a checksum cannot be verified and does not count. (CONC-04, CSUM-19)."""
    url = await client.create(10)
    wire = await Wire.open(url)
    async with wire:
        wire.start_patch(url, 0, {**TEN, "Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="})
        wire.send(b"01234")
        await server.until_stored(url, 5)
        answer = await client.patch(url, 0, b"abcdefghij")
        assert (answer.status, answer.offset) == (204, 10)
        await assert_interrupted(wire)
    assert (await client.get(url)).body == b"abcdefghij"


async def test_delete_takes_over(client: Client, server: Target) -> None:
    """DELETE ends a running PATCH and removes the upload; nothing is left of it. (CONC-04, reliability I12)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        assert (await client.delete(url)).status == 204
        await assert_interrupted(wire)
    assert (await client.head(url)).status == 404
    assert (await client.patch(url, 5, b"56789")).status == 404
    assert not server.data_path(url).exists()


async def test_racing_patches(client: Client) -> None:
    """Of two PATCHes at the same offset at most one succeeds; what is stored is one body, not a mix. (CONC-01)."""
    size = 200_000
    bodies = [bytes([letter]) * size for letter in b"ab"]
    for _ in range(8):
        url = await client.create(size)
        answers = await asyncio.gather(*(client.patch(url, 0, body) for body in bodies))
        statuses = [answer.status for answer in answers]
        assert statuses.count(204) <= 1
        assert all(answer.status == 204 or answer.code in _LOSERS for answer in answers)
        offset = await client.offset(url)
        if 204 in statuses:
            assert offset == size
            assert (await client.get(url)).body == bodies[statuses.index(204)]


_LOSERS = ("ERR_MISMATCHED_OFFSET", "ERR_UPLOAD_INTERRUPTED", "ERR_UPLOAD_LOCKED", "ERR_UPLOAD_SIZE_EXCEEDED")


async def test_racing_patches_do_not_mix(client: Client, server: Target) -> None:
    """A PATCH that took over continues behind the bytes of the first and changes none of them. (CONC-01, I4)."""
    url = await client.create(30)
    wires = []
    for at, letter in enumerate((b"a", b"b", b"c")):
        wires.append(await begin(server, url, letter * 5, 30 - 5 * at, 5 * at))
        # Each one goes on sending although it has been superseded.
        for earlier in wires[:-1]:
            earlier.send(b"X" * 5)
            await earlier.flush()
    wires[-1].send(b"c" * 15)
    assert (await wires[-1].answer()).status == 204
    assert (await client.get(url)).body == b"a" * 5 + b"b" * 5 + b"c" * 20
    for wire in wires:
        wire.reset()


async def test_many_readers(client: Client) -> None:
    """Any number of GETs and HEADs of a finished upload run side by side; none is locked out. (CONC-07)."""
    data = os.urandom(300_000)
    url = await client.upload(data)
    answers = await asyncio.gather(*(client.get(url) if at % 2 else client.head(url) for at in range(60)))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body == data for answer in answers[1::2])


async def test_get_does_not_disturb(client: Client, server: Target) -> None:
    """GET of an upload that is being filled finds nothing and does not end the PATCH. (CONC-08)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        assert (await client.get(url)).status == 404
        wire.send(b"56789")
        assert (await wire.answer()).status == 204


async def test_refused_patch_does_not_disturb(client: Client, server: Target) -> None:
    """A PATCH that is refused before it needs the upload does not end a running one. (CONC-04)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        assert (await client.patch(url, 5, b"x", {"Content-Type": "text/plain"})).status == 415
        assert (await client.patch(url, "-1", b"x")).status == 400
        assert (await client.patch(url, 5, b"x", {"Upload-Checksum": "nope x"})).status == 400
        assert (await client.patch(url, 5, b"x", {"Tus-Resumable": "0.0.1"})).status == 412
        wire.send(b"56789")
        assert (await wire.answer()).status == 204


async def test_one_process_per_directory(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A second server on the same data directory is refused in one line and does not harm the first.

    (CONC-09 as decided: one process per directory)
    """
    first = await start_server()
    client = client_of(first)
    url = await client.upload(b"hello world")
    second = await launch(first.data_dir)
    output, errors = await asyncio.wait_for(second.communicate(), 30)
    assert second.returncode not in (0, None)
    assert output == b""
    assert str(first.data_dir).encode() in errors
    assert len(errors.splitlines()) == 1
    assert (await client.get(url)).body == b"hello world"
    assert (await client.upload(b"more")) != url


async def test_final_while_a_part_is_deleted(client: Client) -> None:
    """A final upload whose part is deleted meanwhile is complete or refused, never short. (CONC-11)."""
    parts = [b"a" * 50_000, b"b" * 50_000]
    for _ in range(8):
        urls = [await client.upload(part, Upload_Concat="partial") for part in parts]
        final, deleted = await asyncio.gather(
            client.post({"Upload-Concat": "final;" + " ".join(urls)}), client.delete(urls[1])
        )
        assert deleted.status in (204, 423)
        if final.status == 201:
            assert (await client.get(final.headers["Location"])).body == b"".join(parts)
        else:
            assert 400 <= final.status < 500
            assert "Location" not in final.headers


async def test_many_uploads(server: Target) -> None:
    """Two hundred uploads at the same time do not get into each other's way. (CONC-13)."""

    async def upload(client: Client, number: int) -> bool:
        data = number.to_bytes(4, "big") * 2500
        url = await client.create(len(data))
        assert (await client.patch(url, 0, data[:4000])).offset == 4000
        assert (await client.patch(url, 4000, data[4000:])).offset == len(data)
        return (await client.get(url)).body == data

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:
        client = Client(session, server.url)
        assert all(await asyncio.gather(*(upload(client, number) for number in range(200))))


async def test_many_open_requests(client: Client, server: Target) -> None:
    """Many half-sent PATCHes at the same time are all alive and do not keep others waiting. (CONC-13)."""
    urls = [await client.create(10) for _ in range(50)]
    wires = await asyncio.gather(*(begin(server, url, b"01234") for url in urls))
    assert (await client.get(await client.upload(b"another"))).body == b"another"
    for wire in wires:
        wire.send(b"56789")
    answers = await asyncio.gather(*(wire.answer() for wire in wires))
    assert {answer.status for answer in answers} == {204}
    for wire in wires:
        wire.reset()


async def test_connection_is_not_needed_by_the_winner(client: Client, server: Target) -> None:
    """An interrupted connection is closed; its client may go on with a new one. (CONC-02)."""
    url = await client.create(10)
    async with await begin(server, url, b"01234") as wire:
        assert (await client.patch(url, 5, b"56")).status == 204
        await assert_interrupted(wire)
        wire.finish()
        assert await wire.closed() == b""
    async with await Wire.open(url) as wire:
        wire.start("HEAD", url, T)
        assert (await wire.answer(head=True)).headers["Upload-Offset"] == "7"


async def _shows(client: Client, url: str, offset: int) -> bool:
    return await client.offset(url) == offset
