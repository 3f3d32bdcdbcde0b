"""What comes from a pipe: sent as it comes, and again as long as it is kept."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.client.conftest import Told
from tests.client.toy import Rule, Toy, cuts, losing, normal, says, swallows, taking, telling
from tests.support.servers import Target
from tusd_py.client.client import Client
from tusd_py.client.errors import CannotResume, Refused
from tusd_py.client.records import Options, Uploaded
from tusd_py.client.source import PipeSource

MIB = 2**20


@contextlib.asynccontextmanager
async def pipe(data: bytes) -> AsyncIterator[PipeSource]:
    """Have somebody write into a pipe as fast as it is read."""
    readable, writable = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(writable, "wb") as file:
            file.write(data)

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    try:
        yield PipeSource(readable, chunk_size=MIB)
    finally:
        os.close(readable)
        await writing


async def bring(url: str, data: bytes, told: Told | None = None, **options: Any) -> Uploaded:
    async with pipe(data) as source, Client(url, options=Options(**{"retry_for": 60.0, **options})) as client:
        return await client.upload(source, on_event=told.append if told is not None else None)


def stored(toy: Toy, done: Uploaded) -> bytes:
    return bytes(toy.uploads["/files/" + done.url.rsplit("/", 1)[1]])


@pytest.mark.parametrize("size", [MIB + 1, 2 * MIB + MIB // 2, 3 * MIB])
async def test_a_length_is_declared_when_the_end_is_there(toy: Toy, told: Told, size: int) -> None:
    """By the PATCH with the last bytes, or by an empty one when these had gone before anybody knew."""
    data = os.urandom(size)
    done = await bring(toy.url, data, told, metadata={"filename": "dump.sql"})
    assert data == stored(toy, done)
    assert (size, size) == (done.size, done.sent)
    assert "1" == toy.asked("POST")[0].headers["Upload-Defer-Length"]
    *others, last = toy.asked("PATCH")
    assert str(size) == last.headers["Upload-Length"]
    assert all("Upload-Length" not in each.headers for each in others)
    assert ["Created", "Finished"] == told.story
    assert told.of(type(told[0]))[0].size is None


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, MIB - 1])
async def test_what_ends_soon_is_an_upload_like_any_other(toy: Toy, size: int) -> None:
    """When the end is seen before the creation, the length is known to it."""
    data = os.urandom(size)
    done = await bring(toy.url, data)
    assert data == stored(toy, done)
    assert str(size) == toy.asked("POST")[0].headers["Upload-Length"]
    assert ("OPTIONS POST" if size <= 64 * 1024 else "OPTIONS POST PATCH") == toy.methods


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("trouble", [cuts, swallows, taking(1000), says(503), says(409), telling(Upload_Offset=None)])
async def test_what_was_not_taken_is_sent_again(toy: Toy, trouble: Rule, number: int) -> None:
    """From where the server stands, at each of the requests; a length is declared exactly once."""
    data = os.urandom(2 * MIB + 5)
    toy.on("PATCH", *[normal] * number, trouble)
    assert data == stored(toy, await bring(toy.url, data, checksum=trouble is not taking))


async def test_an_end_whose_answer_was_lost_is_not_declared_twice(toy: Toy) -> None:
    """The toy refuses a second Upload-Length, as tusd does."""
    data = os.urandom(2 * MIB)
    toy.on("PATCH", normal, normal, swallows)
    done = await bring(toy.url, data)
    assert data == stored(toy, done)
    assert "OPTIONS POST PATCH PATCH PATCH HEAD" == toy.methods


async def test_an_upload_that_vanished_at_once_is_begun_anew(toy: Toy, told: Told) -> None:
    """Everything is still there."""
    data = os.urandom(2 * MIB)
    toy.on("PATCH", losing())
    assert data == stored(toy, await bring(toy.url, data, told))
    assert ["Created", "Restarted", "Finished"] == told.story


async def test_an_upload_that_vanished_later_cannot_go_on(toy: Toy) -> None:
    """What was acknowledged was dropped; nothing new is created for it."""
    toy.on("PATCH", normal, losing())
    with pytest.raises(CannotResume, match="go on at byte 0"):
        await bring(toy.url, os.urandom(3 * MIB))
    assert 1 == len(toy.asked("POST"))


async def test_a_server_that_falls_back_too_far_cannot_be_helped(toy: Toy) -> None:
    """It lost what it had acknowledged."""

    def fall_back(toy: Toy, request: Any) -> Any:
        for data in toy.uploads.values():
            del data[5:]
        return toy.answer(request)

    toy.on("PATCH", normal, fall_back)
    with pytest.raises(CannotResume, match="go on at byte 5"):
        await bring(toy.url, os.urandom(3 * MIB))


@pytest.mark.parametrize("extensions", [None, "creation,creation-with-upload"])
async def test_a_server_that_wants_to_know_the_length_gets_nothing(extensions: str | None) -> None:
    """Refused before a byte is read: somebody else may still do something with them."""
    async with Toy.open(extensions=extensions) as toy, pipe(b"hello") as source:
        async with Client(toy.url) as client:
            with pytest.raises(Refused, match="to a file first"):
                await client.upload(source)
        assert "OPTIONS" == toy.methods
        assert b"hello" == os.read(source._fd, 100)


async def test_a_pipe_goes_to_real_servers(server: Target) -> None:
    """With checksums, and read back."""
    data = os.urandom(5 * MIB + 17)
    done = await bring(server.url, data, checksum=True, verify=True)
    assert data == server.data_path(done.url).read_bytes()
    assert done.verified


@pytest.mark.parametrize("options", [{}, {"checksum": True}])
async def test_a_proxy_that_takes_no_large_requests_gets_smaller_ones(toy: Toy, options: dict[str, Any]) -> None:
    """As with files; what is kept is as much as before."""

    def limited(toy: Toy, request: Any) -> Any:
        return toy.answer(request) if len(request.body) <= 300_000 else says(413, "<html>")(toy, request)

    data = os.urandom(2 * MIB + 5)
    toy.always("PATCH", limited)
    assert data == stored(toy, await bring(toy.url, data, **options))
    assert 2**18 == max(len(each.body) for each in toy.asked("PATCH")[1:])


async def test_what_is_sent_twice_is_compared_once(toy: Toy) -> None:
    """The digest is of what came, however often it went out."""
    toy.on("PATCH", taking(1000), normal, taking(7), cuts, normal, cuts)
    assert (await bring(toy.url, os.urandom(2 * MIB + 5), verify=True)).verified


async def test_of_a_pipe_only_a_window_is_kept(toy: Toy) -> None:
    """While the server takes nothing, the writer has to wait: nothing grows with what comes."""
    data = os.urandom(20 * MIB)
    left: list[int] = []

    def look(toy: Toy, request: Any) -> Any:
        left.append(struct.unpack("i", fcntl.ioctl(readable, termios.FIONREAD, b"\0" * 4))[0])
        return toy.answer(request)

    toy.always("PATCH", look)
    async with pipe(data) as source, Client(toy.url) as client:
        readable = source._fd
        await client.upload(source)
    assert 21 == len(left)
    assert MIB == max(len(each.body) for each in toy.asked("PATCH"))
