"""What is on the disk, who may touch it, and what happens when somebody planted something there.

(reliability 5.2 rows 2, 17 to 20, 50 and 51)
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.servers import Target, launch

TIB = 2**40


def used(target: Target) -> int:
    """Return the bytes that the data of all uploads takes on the disk."""
    return sum(path.stat().st_blocks * 512 for path in (target.data_dir / "uploads").rglob("*") if path.is_file())


def plant(kind: str, path: Path, elsewhere: Path) -> None:
    """Put something that is no plain file of ours at a path."""
    path.unlink()
    match kind:
        case "symlink":
            path.symlink_to(elsewhere)
        case "dangling symlink":
            path.symlink_to(elsewhere.with_name("nowhere"))
        case "hard link":
            path.hardlink_to(elsewhere)
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket":
            here = os.getcwd()
            os.chdir(path.parent)
            try:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.bind(path.name)
            finally:
                os.chdir(here)
        case "device":
            if os.geteuid() != 0:
                pytest.skip("NOT RUN: needs root")
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


KINDS = ["symlink", "dangling symlink", "hard link", "fifo", "directory", "socket", "device"]


@pytest.mark.parametrize("kind", KINDS)
async def test_planted_at_the_data_of_an_open_upload(client: Client, server: Target, tmp_path: Path, kind: str) -> None:
    """Bytes are never written through what somebody planted: the PATCH fails at once, the offset stays.

    (rows 17 and 18, I5)
    """
    elsewhere = tmp_path / "target"
    elsewhere.write_bytes(b"precious")
    url = await client.create(8)
    assert (await client.patch(url, 0, b"abcd")).status == 204
    plant(kind, server.data_path(url), elsewhere)
    answer = await client.patch(url, 4, b"efgh")
    assert answer.status in (500, 410)
    assert str(server.data_dir).encode() not in answer.body
    assert elsewhere.read_bytes() == b"precious"
    assert not elsewhere.with_name("nowhere").exists()
    assert await client.offset(url) == 4
    if kind != "directory":
        assert (await client.delete(url)).status == 204
        assert not os.path.lexists(server.data_path(url))
        assert elsewhere.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", KINDS)
async def test_planted_at_the_data_of_a_finished_upload(
    client: Client, server: Target, tmp_path: Path, kind: str
) -> None:
    """Nothing is served through what somebody planted, and nothing hangs. (rows 17 and 18)"""
    elsewhere = tmp_path / "target"
    elsewhere.write_bytes(b"precious")
    url = await client.upload(b"abcdefgh")
    plant(kind, server.data_path(url), elsewhere)
    answer = await client.get(url)
    assert answer.status in (500, 410)
    assert b"precious" not in answer.body


async def test_symlink_at_the_parent(client: Client, server: Target, tmp_path: Path) -> None:
    """A directory on the way to the data is not followed elsewhere either. (row 17)"""
    url = await client.create(8)
    path = server.data_path(url)
    hidden = path.parent.with_name("hidden")
    path.parent.rename(hidden)
    path.parent.symlink_to(tmp_path)
    try:
        (tmp_path / path.name).write_bytes(b"")
        assert (await client.patch(url, 0, b"abcd")).status in (500, 410)
        assert (tmp_path / path.name).read_bytes() == b""
        assert await client.offset(url) == 0
    finally:
        path.parent.unlink()
        hidden.rename(path.parent)
    assert (await client.patch(url, 0, b"abcd")).offset == 4


async def test_truncated_data(client: Client, server: Target) -> None:
    """Data that became shorter than what was acknowledged is not completed with zeros, nor served. (I7)"""
    url = await client.create(8)
    assert (await client.patch(url, 0, b"abcdef")).status == 204
    os.truncate(server.data_path(url), 3)
    assert (await client.patch(url, 6, b"gh")).status in (500, 410)
    assert (await client.get(url)).status in (404, 410, 500)


async def test_finished_data_that_was_cut(client: Client, server: Target) -> None:
    """A finished file that became shorter behind the server's back is not served as if it were whole. (I7)"""
    url = await client.upload(b"abcdefgh")
    os.truncate(server.data_path(url), 3)
    answer = await client.get(url)
    assert answer.status in (410, 500)
    assert answer.body != b"abc"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
async def test_modes(start_server: StartServer, client_of: Callable[[Target], Client], umask: int) -> None:
    """Directories are 0700 and files 0600, whatever umask was inherited. (row 20)"""
    before = os.umask(umask)
    try:
        target = await start_server()
        client = client_of(target)
        url = await client.upload(b"hello")
        part = await client.upload(b"hello", Upload_Concat="partial")
        assert (await client.post({"Upload-Concat": f"final;{part} {part}"})).status == 201
        found = {path: stat.S_IMODE(path.lstat().st_mode) for path in [target.data_dir, *target.data_dir.rglob("*")]}
    finally:
        os.umask(before)
    assert target.data_path(url) in found
    assert len(found) >= 8
    wrong = {str(path): oct(mode) for path, mode in found.items() if mode != (0o700 if path.is_dir() else 0o600)}
    assert wrong == {}


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.chmod(0o770), id="group may write"),
        pytest.param(lambda path: path.chmod(0o702), id="others may write"),
        pytest.param(lambda path: os.chown(path, 12345, -1), id="foreign owner"),
        pytest.param(lambda path: (path / "uploads").chmod(0o777), id="uploads"),
        pytest.param(lambda path: (path / "uploads.sqlite3").chmod(0o666), id="database"),
    ],
)
async def test_unsafe_data_dir(mode: str, tmp_path: Path, spoil: Spoil) -> None:
    """A directory that others could change is refused in one line, and nothing in it is touched; a switch allows it.

    (row 19, I16)
    """
    path = tmp_path / "data"
    await _start_once(path)
    if os.geteuid() != 0 and spoil.__code__.co_names == ("os", "chown"):
        pytest.skip("NOT RUN: needs root")
    spoil(path)
    before = {place: place.stat().st_mtime_ns for place in path.rglob("*")}
    if mode != "process":
        with pytest.raises(tusd_py.StartupError, match="allow-unsafe-data-dir"):
            await _start_once(path)
    else:
        child = await launch(path)
        out, errors = await asyncio.wait_for(child.communicate(), 30)
        assert child.returncode not in (0, None)
        assert out == b""
        assert b"allow-unsafe-data-dir" in errors
        assert errors.count(b"\n") == 1
    assert {place: place.stat().st_mtime_ns for place in path.rglob("*")} == before
    await _start_once(path, allow_unsafe_data_dir=True)


async def _start_once(path: Path, **settings: object) -> None:
    app = web.Application()
    tusd_py.setup(app, data_dir=path, **settings)
    runner = web.AppRunner(app)
    try:
        await runner.setup()
    finally:
        await runner.cleanup()


async def test_announced_bytes_take_no_space(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A thousand uploads that announce 1 TiB each have no bytes, and not even files. (rows 50 and 51)"""
    target = await start_server(durability="none")
    client, gate = client_of(target), asyncio.Semaphore(16)

    async def create() -> str:
        async with gate:
            return await client.create(TIB)

    urls = await asyncio.gather(*(create() for _ in range(1000)))
    assert len(set(urls)) == 1000
    assert used(target) == 0
    assert not any(target.data_path(url).exists() for url in urls)


async def test_largest_length(client: Client, server: Target) -> None:
    """The largest length there is, is taken and not preallocated; a byte of it takes a byte. (row 2, CRE-POST-10)"""
    url = await client.create(2**63 - 1)
    assert server.stored(url) == 0
    assert (await client.patch(url, 0, b"x")).offset == 1
    assert server.stored(url) == 1


async def test_ids(session: aiohttp.ClientSession, client: Client, server: Target) -> None:
    """Ids have 128 random bits, and the file is named like the upload. (row 21, CRE-POST-06)"""
    ids = [(await client.create(1)).rpartition("/")[2] for _ in range(20)]
    assert len(set(ids)) == 20
    for upload_id in ids:
        assert re.fullmatch(r"[0-9a-f]{32}|[A-Za-z0-9_-]{22,}", upload_id)
        await client.patch(client.base + upload_id, 0, b"x")
        assert server.data_path(client.base + upload_id).is_file()
    digits = "".join(ids)
    assert len(set(digits)) >= 16
