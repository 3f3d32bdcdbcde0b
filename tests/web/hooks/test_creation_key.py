"""Hooks and a creation that is asked for again: asked once, told once, and never told the key."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import CT, Client
from tests.support.hooked import LARGE, Hooked, hooked
from tests.support.state import check_refusal, holdings, nothing_created
from tests.support.timed import name_of
from tusd_py.models.hook import HookReply

WAYS: dict[str, tuple[dict[str, str], bytes | None]] = {
    "open": ({"Upload-Length": "5"}, None),
    "with all": ({"Upload-Length": "5", **CT}, b"hello"),
    "with some": ({"Upload-Length": "9", **CT}, b"hello"),
    "with much": ({"Upload-Length": str(LARGE), **CT}, b"a" * LARGE),
}


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


@pytest.mark.parametrize("way", WAYS)
async def test_once(server: Hooked, client: Client, way: str) -> None:
    """Of twenty equal requests at once one is asked about, and one upload is told of, at its end too."""
    fields, body = WAYS[way]
    headers = {**fields, **new_key()}
    server.app.says("pre-create", HookReply(headers=(("X-Made", "yes"),)))
    before = holdings(server.target)
    answers = await asyncio.gather(*(client.post(headers, body) for _ in range(20)))
    assert [answer.status for answer in answers] == [201] * 20
    (url,) = {answer.headers["Location"] for answer in answers}
    assert {f"row {name_of(url)}", f"file {name_of(url)}"} == holdings(server.target) - before
    assert ["yes"] == [answer.headers["X-Made"] for answer in answers if "X-Made" in answer.headers]
    await server.settle()
    told = [str(event.moment) for event in server.app.seen]
    finish = ["pre-finish", "post-finish"] if way in ("with all", "with much") else []
    assert sorted(["pre-create", "post-create", *finish]) == sorted(set(told) - {"post-receive"})
    assert all(told.count(moment) == 1 for moment in ("pre-create", "post-create", *finish))


async def test_the_key_is_not_told(server: Hooked, client: Client) -> None:
    """Whoever has the key gets the URL: it is in no event and in no job."""
    key = new_key()
    url = (await client.post({"Upload-Length": "5", **CT, **key}, b"hello")).headers["Location"]
    await server.settle()
    assert server.target.tus is not None
    jobs = await server.target.tus._info.list_jobs()
    await client.delete(url)
    await server.settle()
    jobs += await server.target.tus._info.list_jobs()
    assert {str(job.event.moment) for job in jobs} == {"post-finish", "post-terminate"}
    told = {str(event.moment) for event in server.app.seen}
    assert told == {"pre-create", "post-create", "pre-finish", "post-finish", "pre-terminate", "post-terminate"}
    assert key["Idempotency-Key"].strip('"') not in repr([server.app.seen, jobs])


async def test_told_by_name(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """An application that wants the header gets it."""
    async with hooked(tmp_path / "data", hooks_http_forward_headers="idempotency-key") as server:
        key = new_key()
        await Client(session, server.target.url).post({"Upload-Length": "5", **key})
        assert dict(server.app.seen[0].request.headers)["Idempotency-Key"] == key["Idempotency-Key"]


async def test_changed_by_a_hook(server: Hooked, client: Client) -> None:
    """The request counts as it came, whatever a hook has made of it."""
    reply = HookReply(upload_id="my-upload", path="a/b.bin", metadata={"name": "cat"})
    server.app.says("pre-create", reply)
    headers = {"Upload-Length": "5", "Upload-Metadata": "name ZG9n", **new_key()}
    for _ in range(2):
        answer = await client.post(headers)
        assert (answer.status, answer.headers["Location"]) == (201, client.base + "my-upload")
    assert len(server.app.events("pre-create")) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_refused_before(server: Hooked, client: Client, way: str) -> None:
    """A request that was refused has made nothing: the next one is asked about, and may be agreed to."""
    fields, body = WAYS[way]
    headers = {**fields, **new_key()}
    server.app.says("pre-create", HookReply(refuses=True), RuntimeError("no"), HookReply())
    with nothing_created(server.target):
        check_refusal(await client.post(headers, body), 400, "ERR_UPLOAD_REJECTED")
        check_refusal(await client.post(headers, body), 500, "ERR_HOOK_FAILED")
    assert (await client.post(headers, body)).status == 201


@pytest.mark.parametrize("way", ["with all", "with much"])
async def test_refused_with_its_bytes(server: Hooked, client: Client, way: str) -> None:
    """An upload that came whole and was refused is gone, and its key free. (CWU-04)"""
    fields, body = WAYS[way]
    headers = {**fields, **new_key()}
    server.app.says("pre-finish", HookReply(refuses=True), HookReply())
    with nothing_created(server.target):
        check_refusal(await client.post(headers, body), 400, "ERR_UPLOAD_REJECTED")
    assert (await client.post(headers, body)).offset == len(body or b"")


async def test_rejected(server: Hooked, client: Client) -> None:
    """Of an upload that was rejected at its end the second request hears why, and makes no other."""
    server.app.says("pre-finish", HookReply(refuses=True, body="no cats"))
    headers = {"Upload-Length": "5", **new_key()}
    url = (await client.post(headers)).headers["Location"]
    assert (await client.patch(url, 0, b"hello")).status == 400
    with nothing_created(server.target):
        answer = await client.post(headers)
    assert (answer.status, answer.body) == (410, b"ERR_UPLOAD_REJECTED: no cats\n")
    assert len(server.app.events("pre-create")) == 1


async def test_not_agreed_yet(server: Hooked, client: Client) -> None:
    """While a hook has not agreed to the end, whoever asks again is told to wait."""
    headers = {"Upload-Length": "5", **new_key()}
    url = (await client.post(headers)).headers["Location"]
    door = server.app.door("pre-finish")
    sending = asyncio.create_task(client.patch(url, 0, b"hello"))
    await door.knocked.wait()
    check_refusal(await client.post(headers), 423, "ERR_UPLOAD_LOCKED")
    door.open()
    assert (await sending).status == 204
    assert (await client.post(headers)).offset == 5


async def test_slow_to_agree(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """While a hook thinks about a creation, whoever asks for the same is told to come again, and no hook is asked."""
    async with hooked(tmp_path / "data", lock_timeout="100ms") as server:
        client = Client(session, server.target.url)
        door = server.app.door("pre-create")
        headers = {"Upload-Length": "5", **new_key()}
        first = asyncio.create_task(client.post(headers))
        await door.knocked.wait()
        refused = await client.post(headers)
        check_refusal(refused, 423, "ERR_UPLOAD_LOCKED")
        assert refused.headers["Retry-After"] == "1"
        door.open()
        url = (await first).headers["Location"]
        assert (await client.post(headers)).headers["Location"] == url
        assert len(server.app.events("pre-create")) == 1
