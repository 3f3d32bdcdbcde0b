"""pre-finish when the application cannot be asked, or takes its time: the client waits, and hears the truth once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import CT, Answer, Client
from tests.support.hooked import PATHS, Application, Hooked, hooked, settles, state_of
from tests.support.servers import process
from tests.support.state import check_refusal, holdings
from tests.support.timed import name_of
from tests.support.waiting import until
from tusd_py.models.hook import HookReply

REFUSED = HookReply(refuses=True, status=422, body="No cats")
BROKEN = RuntimeError("secret")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application is asked again soon."""
    monkeypatch.setattr("tusd_py.engine.finishing.FIRST_DELAY", 0.02)


@pytest.fixture(params=PATHS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hooked]:
    """A server whose application is asked and told everything; uploads are waited for only a moment."""
    async with hooked(tmp_path / "data", request.param, lock_timeout="300ms") as server:
        yield server


async def last(client: Client, size: int = 10) -> tuple[str, Answer]:
    """Send an upload of some bytes in two requests; return its URL and the last answer."""
    url = await client.create(size)
    await client.patch(url, 0, b"hello")
    return url, await client.patch(url, 5, b"a" * (size - 5))


async def check_waits(client: Client, url: str) -> None:
    """Check that a client can only wait: nothing looks like success, or like a reason to begin anew."""
    head = await client.head(url)
    assert (head.status, head.headers["Retry-After"]) == (423, "1")
    assert "Upload-Offset" not in head.headers
    assert (await client.get(url)).status == 404
    for offset in (5, 10):
        check_refusal(await client.patch(url, offset), 423, "ERR_UPLOAD_LOCKED")
    result = await client.get(url + "/result")
    assert (result.status, b'"state":"finishing"' in result.body) == (200, True)


@pytest.mark.parametrize("size", [10, 2**20])
async def test_asked_until_there_is_an_answer(server: Hooked, client: Client, size: int) -> None:
    """A hook that fails leaves the upload waiting; it is asked again until it agrees, and that is told once."""
    server.app.says("pre-finish", BROKEN, BROKEN, BROKEN, None)
    url, answer = await last(client, size)
    check_refusal(answer, 500, "ERR_HOOK_FAILED")
    assert (answer.headers["Retry-After"], b"secret" in answer.body) == ("5", False)
    await settles(lambda: client.head(url), 200)
    assert await client.offset(url) == size
    await server.settle()
    assert server.app.of(url)[-5:] == ["pre-finish"] * 4 + ["post-finish"]
    assert {event.request.method for event in server.app.events("pre-finish")} == {"PATCH"}
    assert len((await client.get(url)).body) == size


async def test_refused_in_the_end(server: Hooked, client: Client) -> None:
    """What is asked again may be refused; then it is refused for good, and nobody is asked any more."""
    server.app.says("pre-finish", BROKEN, REFUSED)
    url, answer = await last(client)
    assert answer.status == 500
    await settles(lambda: client.head(url), 410)
    assert b"No cats" in (await client.get(url)).body
    await server.settle()
    assert server.app.of(url).count("pre-finish") == 2
    assert "post-finish" not in server.app.of(url)


async def test_while_it_waits(session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the hook fails a client is told to wait, however often it asks; DELETE ends it."""
    monkeypatch.setattr("tusd_py.engine.finishing.FIRST_DELAY", 1000)
    async with hooked(tmp_path / "data") as server:
        client = Client(session, server.target.url)
        server.app.says("pre-finish", BROKEN)
        url, _ = await last(client)
        for _ in range(3):
            await check_waits(client, url)
        assert server.app.of(url).count("pre-finish") == 1
        assert (await client.delete(url)).status == 204
        assert (await client.head(url)).status == 404
        assert holdings(server.target) == set()


async def test_a_part_that_waits(server: Hooked, client: Client) -> None:
    """A part that is not agreed to yet cannot be joined yet: try again."""
    server.app.says("pre-finish", BROKEN)
    part = await client.create(5, Upload_Concat="partial")
    assert (await client.patch(part, 0, b"hello")).status == 500
    answer = await client.post({"Upload-Concat": f"final;{part}"})
    assert (answer.status, answer.headers["Retry-After"]) == (423, "1")
    server.app.says("pre-finish", None)
    await settles(lambda: client.head(part), 200)
    assert (await client.post({"Upload-Concat": f"final;{part}"})).status == 201


async def test_hangs(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A hook that hangs has failed after its time; when it comes back to life, the upload is finished (row 57)."""
    async with hooked(tmp_path / "data", timeout=0.2) as server:
        client = Client(session, server.target.url)
        door = server.app.door("pre-finish")
        url, answer = await last(client)
        check_refusal(answer, 500, "ERR_HOOK_FAILED")
        assert (await client.head(url)).status == 423
        door.open()
        await settles(lambda: client.head(url), 200)
        await server.settle()
        assert server.app.of(url)[-1] == "post-finish"
        assert len(server.app.events("post-finish")) == 1


async def test_meanwhile(server: Hooked, client: Client) -> None:
    """While a hook thinks, requests for that upload are answered soon, and others do not notice (CONC-01)."""
    door = server.app.door("pre-finish")
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    asking = asyncio.create_task(client.patch(url, 5, b"world"))
    await server.app.has("pre-finish")
    head, patch, delete, get = await asyncio.gather(
        client.head(url), client.patch(url, 5, b"WORLD"), client.delete(url), client.get(url)
    )
    assert (head.status, patch.status, delete.status, get.status) == (423, 423, 423, 404)
    assert head.headers["Retry-After"] == patch.headers["Retry-After"] == "1"
    other = await client.create(10)
    assert (await client.patch(other, 0, b"hello")).status == 204
    assert await client.offset(other) == 5
    assert not asking.done()
    door.open()
    assert (await asking).status == 204
    assert (await client.get(url)).body == b"helloworld"
    await server.settle()
    assert [server.app.of(url).count(moment) for moment in ("pre-finish", "post-finish")] == [1, 1]


@pytest.mark.parametrize("length", ["0", "5"])
async def test_meanwhile_others_are_made(session: aiohttp.ClientSession, tmp_path: Path, length: str) -> None:
    """While a hook thinks about a creation, others are made, also where their number is limited."""
    async with hooked(tmp_path / "data", max_open_uploads=10) as server:
        client = Client(session, server.target.url)
        door = server.app.door("pre-finish")
        body = b"hello" if length == "5" else None
        asking = asyncio.create_task(client.post({"Upload-Length": length, **(CT if body else {})}, body))
        await server.app.has("pre-finish")
        await client.create(5)
        assert not asking.done()
        door.open()
        assert (await asking).status == 201


@pytest.mark.parametrize("body", [None, b"hello"], ids=["empty", "with its bytes"])
async def test_a_creation_that_is_known(server: Hooked, client: Client, body: bytes | None) -> None:
    """Whoever knows the id that a hook chose can only wait while the creation is asked about; it is asked once."""
    server.app.says("pre-create", HookReply(upload_id="known"))
    door = server.app.door("pre-finish")
    url = client.base + "known"
    length = {"Upload-Length": str(len(body or b""))}
    asking = asyncio.create_task(client.post({**length, **(CT if body else {})}, body))
    await server.app.has("pre-finish")
    assert (await client.head(url)).status == 423
    assert (await client.patch(url, 0)).status == 423
    assert (await client.delete(url)).status == 423
    door.open()
    assert (await asking).status == 201
    await server.settle()
    assert [server.app.of(url).count(moment) for moment in ("pre-finish", "post-finish")] == [1, 1]
    assert await client.offset(url) == len(body or b"")


async def test_racing_last_patches(server: Hooked, client: Client) -> None:
    """Several clients that send the last bytes at the same moment are asked about once, and told once (CONC-14)."""
    for _ in range(5):
        url = await client.create(10)
        await client.patch(url, 0, b"hello")
        bodies = [b"WORLD", b"world", b"WoRlD", b"wOrLd"]
        answers = await asyncio.gather(*(client.patch(url, 5, body) for body in bodies))
        assert {answer.status for answer in answers} <= {204, 400, 409, 413, 423}
        if (offset := await client.offset(url)) < 10:
            await client.patch(url, offset, b"world"[offset - 5 :])
        await server.settle()
        assert [server.app.of(url).count(moment) for moment in ("pre-finish", "post-finish")] == [1, 1]
        assert (await client.get(url)).body[5:] in bodies


async def test_the_client_is_gone(server: Hooked, client: Client) -> None:
    """A client that vanishes while the hook thinks finds its upload finished when it comes back."""
    door = server.app.door("pre-finish")
    url = await client.create(5)
    asking = asyncio.create_task(client.patch(url, 0, b"hello"))
    await server.app.has("pre-finish")
    asking.cancel()
    door.open()
    await settles(lambda: client.head(url), 200)
    await server.settle()
    assert server.app.of(url)[-2:] == ["pre-finish", "post-finish"]


async def test_asked_again_after_a_restart(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """An upload that waits when the server stops is asked about by the next one."""
    app = Application()
    app.says("pre-finish", BROKEN)
    async with hooked(tmp_path / "data", app=app) as server:
        url, _ = await last(Client(session, server.target.url))
    assert state_of(server.target, url) == "finishing"
    app.says("pre-finish", None)
    async with hooked(tmp_path / "data", app=app) as server:
        client = Client(session, server.target.url)
        await settles(lambda: client.head(client.base + name_of(url)), 200)
        await server.settle()
    assert len(app.events("post-finish")) == 1


async def test_nobody_is_asked_any_more(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """An upload that waits for a hook which is not there any more is finished by the next start."""
    app = Application()
    app.says("pre-finish", BROKEN)
    async with hooked(tmp_path / "data", app=app) as server:
        url, _ = await last(Client(session, server.target.url))
    async with process(tmp_path / "data") as target:
        client = Client(session, target.url)
        await settles(lambda: client.head(target.url + name_of(url)), 200)


@pytest.mark.parametrize("way", ["patch", "creation"])
async def test_killed_while_it_asks(session: aiohttp.ClientSession, tmp_path: Path, way: str) -> None:
    """The death of the server while the hook runs costs nothing: the next start asks again, and tells once (I14)."""
    hooks, log = tmp_path / "hooks", tmp_path / "log"
    hooks.mkdir()
    go = tmp_path / "go"
    _script(hooks / "pre-finish", f'echo "$TUS_ID ask" >> {log}; while [ ! -e {go} ]; do sleep 0.05; done')
    _script(hooks / "post-finish", f'echo "$TUS_ID told" >> {log}')
    options = {"hooks_dir": hooks, "hooks_enabled_events": "pre-finish,post-finish"}
    async with process(tmp_path / "data", **options) as target:
        client = Client(session, target.url)
        if way == "patch":
            asking = asyncio.create_task(client.upload(b"hello"))
        else:
            asking = asyncio.create_task(client.post({"Upload-Length": "5", **CT}, b"hello"))  # type: ignore[arg-type]
        await until(lambda: _lines(log, 1))
        upload = log.read_text().split()[0]
        assert state_of(target, upload) == "finishing"
        assert target.process is not None
        target.process.kill()
        await target.process.wait()
        with pytest.raises(aiohttp.ClientError):
            await asking
    go.touch()
    async with process(tmp_path / "data", **options) as target:
        client = Client(session, target.url)
        await settles(lambda: client.head(target.url + upload), 200)
        await until(lambda: _lines(log, 3))
        assert (await client.get(target.url + upload)).body == b"hello"
    assert log.read_text().splitlines() == [f"{upload} ask"] * 2 + [f"{upload} told"]


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


async def _lines(path: Path, count: int) -> bool:
    return path.exists() and len(path.read_text().splitlines()) >= count
