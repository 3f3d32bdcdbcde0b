"""Termination: DELETE removes an upload for good, whoever is using it (protocol section 5)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.client import CT, Client, T
from tests.support.disks import small_disk
from tests.support.servers import Target, serve
from tests.support.timed import name_of
from tests.support.waiting import until
from tests.support.wire import Wire

MIB = 1024 * 1024


def row_of(server: Target, url: str) -> object:
    """Return the state of an upload in the database; None when there is no row."""
    database = sqlite3.connect(f"file:{server.data_dir / 'uploads.sqlite3'}?mode=ro", uri=True)
    try:
        found = database.execute("select state from uploads where id = ?", [name_of(url)]).fetchone()
    finally:
        database.close()
    return found[0] if found else None


def open_files(server: Target) -> set[str]:
    """Return what the server's process has open (also what is removed already)."""
    number = server.process.pid if server.process else os.getpid()
    found = set()
    for descriptor in list(Path(f"/proc/{number}/fd").iterdir()):
        try:
            found.add(str(descriptor.readlink()))
        except FileNotFoundError:
            # The very descriptor that lists the directory.
            continue
    return found


def assert_no_trace(server: Target, url: str) -> None:
    """Neither file nor row, descriptor or lock of an upload is left."""
    assert not server.data_path(url).exists()
    assert row_of(server, url) is None
    assert not [path for path in open_files(server) if name_of(url) in path]
    if server.tus is not None:
        assert name_of(url) not in server.tus.engine._ctx.locker._lines
        assert name_of(url) not in server.tus.engine._ctx.receiving


async def assert_unknown(client: Client, url: str) -> None:
    """Every method finds nothing, and says so without an offset."""
    for answer in [await client.head(url), await client.patch(url, 0, b"x"), await client.get(url)]:
        assert answer.status == 404
        assert "Upload-Offset" not in answer.headers
    assert (await client.delete(url)).status == 404


@pytest.mark.parametrize("sent", [0, 5], ids=["empty", "half"])
async def test_unfinished_upload(client: Client, server: Target, sent: int) -> None:
    """DELETE answers 204 without a body; then the upload is unknown, nothing is left (TERM-01, I12)."""
    url = await client.create(10)
    await client.patch(url, 0, b"x" * sent)
    assert server.data_path(url).exists() == bool(sent)
    assert row_of(server, url) == "open"
    answer = await client.delete(url)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "Content-Length" not in answer.headers
    assert_no_trace(server, url)
    await assert_unknown(client, url)


async def test_finished_upload(client: Client, server: Target) -> None:
    """A finished upload can be removed as well (TERM-02, I12)."""
    url = await client.upload(b"hello")
    assert (await client.get(url)).status == 200
    assert (await client.delete(url)).status == 204
    assert_no_trace(server, url)
    await assert_unknown(client, url)


async def test_twice(client: Client) -> None:
    """The second DELETE finds nothing (TERM-03)."""
    url = await client.create(10)
    assert [(await client.delete(url)).status for _ in range(2)] == [204, 404]


async def test_many_at_once(client: Client, server: Target) -> None:
    """Of several DELETEs at the same moment one removes the upload and the others find nothing (TERM-03, I12)."""
    url = await client.upload(b"hello")
    answers = await asyncio.gather(*(client.delete(url) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [204, 404, 404, 404, 404, 404]
    assert_no_trace(server, url)


async def test_unknown_upload(client: Client) -> None:
    """What was never there is not found (TERM-03)."""
    assert (await client.delete(client.base + "0" * 32)).status == 404


async def test_while_a_silent_patch_is_open(client: Client, server: Target) -> None:
    """A waiting PATCH is ended at once, told why, and does not bring the file back (TERM-04, I12)."""
    url = await client.create(1000)
    headers = {**T, **CT, "Upload-Offset": "0", "Content-Length": "1000"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)
        wire.send(b"x" * 100)
        await until(lambda: _has_bytes(server.data_path(url)))
        assert (await asyncio.wait_for(client.delete(url), 2)).status == 204
        interrupted = await wire.answer()
        assert (interrupted.status, interrupted.code) == (400, "ERR_UPLOAD_INTERRUPTED")
        assert interrupted.headers["Connection"].lower() == "close"
        assert "Upload-Offset" not in interrupted.headers
        wire.send(b"y" * 900)
    assert_no_trace(server, url)
    await assert_unknown(client, url)


async def test_while_a_live_patch_is_sending(client: Client, server: Target) -> None:
    """A PATCH that never stops sending is ended too; its connection gets 400 or is closed (TERM-04, I12)."""
    url = await client.create(10**12)
    headers = {**T, **CT, "Upload-Offset": "0", "Content-Length": str(10**12)}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)

        async def keep_sending() -> None:
            while True:
                wire.send(bytes(65536))
                await wire.flush()

        sending = asyncio.create_task(keep_sending())
        try:
            await until(lambda: _has_bytes(server.data_path(url)))
            assert (await asyncio.wait_for(client.delete(url), 5)).status == 204
            assert_no_trace(server, url)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                assert (await wire.answer()).code == "ERR_UPLOAD_INTERRUPTED"
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            if not sending.cancelled():
                assert isinstance(sending.exception(), ConnectionError)
    await assert_unknown(client, url)
    assert_no_trace(server, url)


async def test_final_and_partial_are_independent(client: Client) -> None:
    """A final upload is a copy: removing it or a part leaves the other side as it is (TERM-05)."""
    first, second = (
        await client.upload(b"abc", Upload_Concat="partial"),
        await client.upload(b"def", Upload_Concat="partial"),
    )
    finals = [(await client.post({"Upload-Concat": f"final;{first} {second}"})).headers["Location"] for _ in range(2)]
    assert (await client.delete(finals[0])).status == 204
    assert [(await client.get(part)).body for part in (first, second)] == [b"abc", b"def"]
    assert (await client.delete(first)).status == 204
    assert (await client.get(finals[1])).body == b"abcdef"
    assert await client.offset(finals[1]) == 6
    assert (await client.get(second)).body == b"def"


async def test_base_url(client: Client) -> None:
    """There is nothing to remove at the base URL (TERM-06)."""
    for url in (client.base, client.base.rstrip("/")):
        answer = await client.delete(url)
        assert (answer.status, answer.headers["Allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize("settings", [{"disable_termination": True}, {"disable_extension": ["termination"]}])
async def test_extension_off(
    start_server: StartServer, client_of: Callable[[Target], Client], settings: dict[str, object]
) -> None:
    """Without the extension DELETE is not allowed, not advertised, and removes nothing (TERM-07)."""
    client = client_of(await start_server(**settings))
    assert "termination" not in (await client.send("OPTIONS")).headers["Tus-Extension"].split(",")
    url = await client.upload(b"hello")
    for answer in (
        await client.delete(url),
        await client.send("POST", url, {**T, "X-HTTP-Method-Override": "DELETE"}),
    ):
        assert (answer.status, answer.code) == (405, "ERR_METHOD_NOT_ALLOWED")
        assert "DELETE" not in answer.headers["Allow"].split(", ")
    assert (await client.get(url)).body == b"hello"


@pytest.mark.parametrize(
    ("headers", "data"),
    [({"Content-Length": "0"}, None), ({}, b"whatever"), ({"Content-Type": "text/plain"}, b"x" * 100_000)],
    ids=["length-0", "body", "large-body"],
)
async def test_body_is_ignored(client: Client, headers: dict[str, str], data: bytes | None) -> None:
    """A body means nothing to DELETE (TERM-09)."""
    url = await client.create(10)
    assert (await client.send("DELETE", url, {**T, **headers}, data)).status == 204
    assert (await client.head(url)).status == 404


async def test_full_disk(mode: str, client_of: Callable[[Target], Client], tmp_path: Path) -> None:
    """On a full disk the offset stays right, HEAD works, and DELETE gives the space back (I8, row 52)."""
    with small_disk(tmp_path / "disk", "24m") as disk:
        async with serve(mode, disk / "data") as target:
            client = client_of(target)
            kept = await client.upload(b"kept")
            url = await client.create(64 * MIB)
            answer = await client.patch(url, 0, io.BytesIO(bytes(64 * MIB)))
            assert (answer.status, answer.code) == (507, "ERR_INSUFFICIENT_STORAGE")
            offset = await client.offset(url)
            assert 0 < offset < 24 * MIB
            assert target.data_path(url).stat().st_size >= offset
            assert (await client.get(kept)).body == b"kept"
            before = shutil.disk_usage(disk).free
            assert (await client.delete(url)).status == 204
            assert shutil.disk_usage(disk).free - before >= offset - MIB
            assert_no_trace(target, url)
            assert (await client.get(await client.upload(bytes(MIB)))).body == bytes(MIB)


async def _has_bytes(path: Path) -> bool:
    return path.exists() and os.path.getsize(path) > 0
