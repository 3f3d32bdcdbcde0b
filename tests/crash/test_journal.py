"""Short bodies that only the journal has any more (reliability I1, I7): a real server, killed and started again."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.crash.test_kill import kill, moved
from tests.support.client import Client
from tests.support.database import rows
from tests.support.servers import process
from tests.support.waiting import until
from tusd_py.errors import DataLost

DATA = os.urandom(6000)
INTERVAL = "200ms"


async def test_something_else_in_its_place(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What cannot be written to its file is refused, outlives clean stops, and is there as soon as it can be."""
    data_dir = tmp_path / "data"
    async with process(data_dir) as server:
        client = Client(session, server.url)
        done = await client.upload(DATA)
        half = await client.create(10_000)
        assert (await client.patch(half, 0, DATA)).status == 204
        paths = [server.data_path(url) for url in (done, half)]
        await kill(server)
    links = [tmp_path / f"backup-{number}" for number in range(2)]
    for path, link in zip(paths, links, strict=True):
        # As a power cut leaves it: as long as it was, and empty.
        path.write_bytes(bytes(len(DATA)))
        os.link(path, link)
    for _ in range(2):
        async with process(data_dir, sweep_interval=INTERVAL) as server:
            client = Client(session, server.url)
            assert (await client.get(moved(server, done))).status == 500
            refused = await client.patch(moved(server, half), len(DATA), b"more")
            assert (refused.status, refused.code) == (500, "ERR_DATA_LOST")
            for link in links:
                assert link.read_bytes() == bytes(len(DATA))
    async with process(data_dir) as server:
        client = Client(session, server.url)
        for link in links:
            link.unlink()
        assert (await client.get(moved(server, done))).body == DATA
        half = moved(server, half)
        assert (await client.patch(half, len(DATA), bytes(4000))).status == 204
        assert (await client.get(half)).body == DATA + bytes(4000)


async def test_jobs_of_such_an_upload(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A job is not handed a file whose bytes are not all there: its attempts fail until they are. (I7, I14)"""
    data_dir, copy = tmp_path / "data", tmp_path / "copy"

    def does(script: str) -> Path:
        config = tmp_path / "tusd-py.toml"
        config.write_text(f"[jobs.copy]\ncommand = ['/bin/sh', '-c', '{script}', '{copy}']\n")
        return config

    def failed(why: str) -> Callable[[], Awaitable[bool]]:
        async def has_failed() -> bool:
            return any(why in error for (error,) in rows(data_dir, "select error from jobs where state = 'retryable'"))

        return has_failed

    async def copied() -> bool:
        return copy.exists() and copy.stat().st_size == len(DATA)

    async with process(data_dir, config=does("exit 3")) as server:
        done = await Client(session, server.url).upload(DATA)
        await until(failed("3"))
        path, link = server.data_path(done), tmp_path / "backup"
        await kill(server)
    path.write_bytes(bytes(len(DATA)))
    os.link(path, link)
    async with process(data_dir, config=does(f'cp "{path}" "$0"')):
        await until(failed(DataLost().message))
        assert not copy.exists()
    link.unlink()
    async with process(data_dir, config=does(f'cp "{path}" "$0"')):
        await until(copied)
    assert copy.read_bytes() == DATA


@pytest.mark.parametrize("lose", [Path.unlink, partial(os.truncate, length=0)], ids=["file", "bytes"])
async def test_beginning_that_is_lost(
    lose: Callable[[Path], None], tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """A file whose beginning nobody has is not made anew out of the rest: that would hide the loss. (I7)"""
    async with process(tmp_path / "data") as server:
        client = Client(session, server.url)
        url = await client.create(300_000)
        assert (await client.patch(url, 0, bytes(200_000))).status == 204
        assert (await client.patch(url, 200_000, DATA)).status == 204
        path = server.data_path(url)
        await kill(server)
    lose(path)
    async with process(tmp_path / "data") as server:
        client, url = Client(session, server.url), moved(server, url)
        answer = await client.patch(url, 206_000, DATA)
        assert (answer.status, answer.code) == (500, "ERR_DATA_LOST")
