"""pre-terminate and post-terminate: who may remove an upload, and that its end is told once, whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Client
from tests.support.hooked import Application, Hooked, hooked, state_of
from tests.support.state import check_refusal, holdings, unchanged
from tests.support.timed import name_of
from tests.support.wire import Wire
from tusd_py.models.hook import HookReply


async def made(client: Client, *, finished: bool) -> str:
    url = await client.create(5)
    await client.patch(url, 0, b"hello" if finished else b"he")
    return url


@pytest.mark.parametrize("finished", [False, True], ids=["open", "finished"])
@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (HookReply(refuses=True), 400, "ERR_UPLOAD_TERMINATION_REJECTED: The application refused to have this upload "),
        (HookReply(refuses=True, status=403, body="Mine"), 403, "Mine"),
        (HookReply(refuses=True, status=204), 400, "ERR_UPLOAD_TERMINATION_REJECTED"),
        (RuntimeError("secret"), 500, "ERR_HOOK_FAILED: The application could not be asked"),
    ],
    ids=["refused", "with words", "with a success", "failed"],
)
async def test_not_agreed(
    server: Hooked, client: Client, *, reply: HookReply | Exception, status: int, body: str, finished: bool
) -> None:
    """An upload whose removal is refused, or about which nobody could be asked, stays as it is."""
    url = await made(client, finished=finished)
    server.app.says("pre-terminate", reply)
    async with unchanged(client, server.target, url):
        answer = await client.delete(url)
    assert answer.status == status
    assert answer.body.decode().startswith(body)
    await server.settle()
    assert server.app.events("post-terminate") == []
    server.app.says("pre-terminate", None)
    assert (await client.delete(url)).status == 204


async def test_not_agreed_disturbs_nobody(server: Hooked, client: Client) -> None:
    """A removal that is refused, or still being asked about, does not end the request that fills the upload."""
    url = await client.create(10)
    server.app.says("pre-terminate", HookReply(refuses=True))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "10"})
        wire.send(b"hello")
        await server.target.until_stored(url, 5)
        assert (await client.delete(url)).status == 400
        wire.send(b"world")
        assert (await wire.answer()).status == 204


async def test_shaped(server: Hooked, client: Client) -> None:
    """What the hook adds is in the answer."""
    server.app.says("pre-terminate", HookReply(status=200, body="gone", headers=(("X-A", "b"),)))
    answer = await client.delete(await made(client, finished=True))
    assert (answer.status, answer.body, answer.headers["X-A"]) == (200, b"gone", "b")


@pytest.mark.parametrize("finished", [False, True], ids=["open", "finished"])
async def test_told_once(server: Hooked, client: Client, *, finished: bool) -> None:
    """However many want it removed, its end is told once, with what it was; then nobody is asked about it."""
    url = await made(client, finished=finished)
    answers = await asyncio.gather(*(client.delete(url) for _ in range(5)))
    assert {answer.status for answer in answers} <= {204, 404}
    assert [answer.status for answer in answers].count(204) == 1
    await server.settle()
    asked = len(server.app.events("pre-terminate"))
    assert (await client.delete(url)).status == 404
    assert len(server.app.events("pre-terminate")) == asked
    (told,) = server.app.events("post-terminate")
    assert (told.upload.id, told.upload.offset, told.request.method) == (name_of(url), 5 if finished else 2, "DELETE")
    assert server.app.of(url)[-1] == "post-terminate"


async def test_removed_while_it_is_asked(server: Hooked, client: Client) -> None:
    """Two removals that are asked about at the same time are one."""
    url = await made(client, finished=True)
    door = server.app.door("pre-terminate")
    removals = [asyncio.create_task(client.delete(url)) for _ in range(2)]
    await server.app.has("pre-terminate", 2)
    assert await client.offset(url) == 5
    door.open()
    assert sorted([(await removal).status for removal in removals]) == [204, 404]
    await server.settle()
    assert len(server.app.events("post-terminate")) == 1


async def test_told_until_it_is_heard(server: Hooked, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end is told until the hook has taken it in, although the upload is long gone (I14)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.01)
    server.app.says("post-terminate", RuntimeError("later"), RuntimeError("later"), None)
    url = await made(client, finished=True)
    assert (await client.delete(url)).status == 204
    assert holdings(server.target) == set()
    await server.settle()
    assert server.app.of(url)[-3:] == ["post-terminate"] * 3


@pytest.mark.parametrize("finished", [False, True], ids=["open", "finished"])
async def test_told_after_a_crash(session: aiohttp.ClientSession, tmp_path: Path, *, finished: bool) -> None:
    """A crash between the mark and the removal loses nothing: the next start removes it, and tells it (I12, I14)."""
    app = Application()
    async with hooked(tmp_path / "data", app=app) as server:
        client = Client(session, server.target.url)
        url = await made(client, finished=finished)
        await server.settle()
        tus = server.target.tus
        assert tus is not None

        async def broken(key: str, *, durable: bool) -> None:
            raise OSError(f"cannot remove {key}, {durable}")

        # Nobody takes it in before the server is gone.
        app.door("post-terminate")
        tus._data.remove = broken  # type: ignore[method-assign]
        check_refusal(await client.delete(url), 500, "ERR_INTERNAL_SERVER_ERROR")
        assert (await client.head(url)).status == 404
        assert state_of(server.target, url) == "deleting"
        assert server.target.data_path(url).exists()
        await app.has("post-terminate")
        app.doors.clear()
    app.seen.clear()
    async with hooked(tmp_path / "data", app=app) as server:
        assert not server.target.data_path(url).exists()
        await server.settle()
        assert holdings(server.target) == set()
    assert app.of(url) == ["post-terminate"]
