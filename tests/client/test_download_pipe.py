"""Downloads into a descriptor: what went into it cannot be taken back, and its reader sets the pace."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.test_download import DATA, ETAG, fetch, part
from tests.client.wiring import ok
from tests.support.waiting import until
from tusd_py.client.errors import CannotResume, DestinationUnusable
from tusd_py.client.records import Options


def read_all(fd: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(fd, "rb") as file:
            return file.read()

    return read


async def test_into_a_pipe(tmp_path: Path) -> None:
    """Bytes go into a pipe in their order, also those that come after a connection was cut."""
    reading, writing = os.pipe()
    answers = [ok(DATA, ETAG)[:-1_000_000], part(len(DATA) - 1_000_000, DATA[-1_000_000:], ETAG)]
    running = asyncio.create_task(fetch(answers, writing, options=Options(retry_for=5.0)))
    received = asyncio.create_task(asyncio.to_thread(read_all(reading)))
    done, _, _ = await running
    os.close(writing)
    assert hashlib.sha256(DATA).digest() == hashlib.sha256(await received).digest()
    assert ("-", len(DATA), len(DATA)) == (done.path, done.size, done.received)


async def test_into_an_open_file(tmp_path: Path) -> None:
    """A descriptor may be a file: it is written where it stands."""
    with (tmp_path / "x").open("wb", buffering=0) as file:
        file.write(b"before ")
        await fetch([ok(b"0123456789")], file.fileno())
    assert b"before 0123456789" == (tmp_path / "x").read_bytes()


async def test_pipe_cannot_begin_anew() -> None:
    """What went into a pipe cannot be taken back."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(CannotResume, match="cannot be taken back"):
            await fetch([ok(b"0123456789")[:-5], ok(b"0123456789")], writing)
        assert b"01234" == os.read(reading, 100)
    finally:
        os.close(reading)
        os.close(writing)


async def test_pipe_closed() -> None:
    """When nobody reads any more, it ends."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(DestinationUnusable, match="standard output cannot be written: Broken pipe"):
            await fetch([ok(b"0123456789")], writing)
    finally:
        os.close(writing)


async def test_pipe_nobody_reads() -> None:
    """A pipe that is full holds up neither the event loop nor the end of the download."""
    reading, writing = os.pipe()
    try:
        task = asyncio.create_task(fetch([ok(DATA)], writing, options=Options(network_timeout=30.0)))
        full = select.poll()
        full.register(writing, select.POLLOUT)

        async def is_full() -> bool:
            return not full.poll(0)

        await until(is_full)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    finally:
        os.close(reading)
        os.close(writing)


async def test_into_a_socket() -> None:
    """What is neither a pipe nor a file is written as it has room."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        received = asyncio.create_task(asyncio.to_thread(read_all(theirs.detach())))
        await fetch([ok(DATA)], ours.fileno())
        ours.close()
        assert DATA == await received
