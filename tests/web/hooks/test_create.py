"""pre-create and post-create: what an application may say to a new upload, and when it is told that there is one."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.client import CT, Answer, Client, T, chunked
from tests.support.hooked import LARGE, Hooked, hooked
from tests.support.state import check_refusal, holdings, nothing_created, unchanged
from tests.support.wire import Wire
from tusd_py.models.hook import HookReply

FAILED = "ERR_HOOK_FAILED"
Body = bytes | None

WAYS: dict[str, tuple[dict[str, str], Body]] = {
    "empty": ({"Upload-Length": "0"}, None),
    "open": ({"Upload-Length": "5"}, None),
    "deferred": ({"Upload-Defer-Length": "1"}, None),
    "with all": ({"Upload-Length": "5", **CT}, b"hello"),
    "with some": ({"Upload-Length": "9", **CT}, b"hello"),
    "with much": ({"Upload-Length": str(LARGE), **CT}, b"a" * LARGE),
    "partial": ({"Upload-Length": "5", "Upload-Concat": "partial"}, None),
}


async def create(client: Client, way: str, **headers: str) -> Answer:
    fields, body = WAYS[way]
    return await client.post({**fields, **headers}, body)


@pytest.mark.parametrize("way", WAYS)
async def test_refused(server: Hooked, client: Client, way: str) -> None:
    """A hook refuses with its own status, body and headers; nothing is created and nobody told (row 22)."""
    reply = HookReply(refuses=True, status=422, body="no cats", headers=(("X-Why", "cats"), ("Location", "/evil")))
    server.app.says("pre-create", reply)
    with nothing_created(server.target):
        answer = await create(client, way)
    assert (answer.status, answer.body) == (422, b"no cats")
    assert (answer.headers["X-Why"], answer.headers["Tus-Resumable"]) == ("cats", "1.0.0")
    assert "Location" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/plain")
    await server.settle()
    assert [event.moment for event in server.app.seen] == ["pre-create"]


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (HookReply(refuses=True), 400, b"ERR_UPLOAD_REJECTED: The application refused this upload\n"),
        (HookReply(refuses=True, status=200), 400, b"ERR_UPLOAD_REJECTED: The application refused this upload\n"),
        (HookReply(refuses=True, status=204, body="x"), 400, b"x"),
        (HookReply(refuses=True, status=302, body="x"), 400, b"x"),
        (HookReply(status=451), 451, b"ERR_UPLOAD_REJECTED: The application refused this upload\n"),
        (HookReply(status=503, headers=(("Retry-After", "7"),)), 503, None),
    ],
    ids=["plain", "200", "204", "302", "by status", "try later"],
)
async def test_a_refusal_looks_like_one(
    server: Hooked, client: Client, reply: HookReply, status: int, body: Body
) -> None:
    """Whatever status a refusal asks for, no client takes it for success."""
    server.app.says("pre-create", reply)
    with nothing_created(server.target):
        answer = await create(client, "with all")
    assert answer.status == status
    assert body is None or answer.body == body


@pytest.mark.parametrize("way", ["with all", "with much", "chunked"])
async def test_refused_before_the_body(server: Hooked, client: Client, way: str) -> None:
    """A client that waits for `100 Continue` gets the refusal instead, and need not send anything (CRE-POST-18)."""
    server.app.says("pre-create", HookReply(refuses=True, status=403))
    length = {"with all": "5", "with much": str(LARGE)}.get(way)
    framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": length}
    with nothing_created(server.target):
        async with await Wire.open(client.base) as wire:
            wire.start(
                "POST",
                client.base,
                {**T, **CT, "Upload-Length": length or "5", "Expect": "100-continue", **framing},
            )
            assert (await wire.answer()).status == 403
            assert await wire.closed() == b""


@pytest.mark.parametrize("way", ["open", "with all", "with much"])
@pytest.mark.parametrize(
    "reply",
    [
        RuntimeError("secret"),
        HookReply(upload_id="../../etc/cron.d/x"),
        HookReply(upload_id="a"),
        HookReply(upload_id="a/b"),
        HookReply(path="../../etc/cron.d/x"),
        HookReply(path="/etc/cron.d/x"),
        HookReply(path="a/../b"),
        HookReply(path="a/.hidden"),
        HookReply(metadata={"a b": "c"}),
        HookReply(metadata={"": "c"}),
        HookReply(metadata={"a": "x" * 60_000}),
        HookReply(status=42),
        "not a reply",
    ],
    ids=[
        *("raises", "id climbs", "id short", "id slash", "path climbs", "path absolute", "path back", "path hidden"),
        *("key", "no key", "long metadata", "status", "type"),
    ],
)
async def test_fails(server: Hooked, client: Client, reply: Any, way: str) -> None:
    """A hook that fails, or wants what cannot be, means 500 without a reason; nothing is created (row 22)."""
    server.app.says("pre-create", reply)
    with nothing_created(server.target):
        answer = await create(client, way)
        check_refusal(answer, 500, FAILED)
    assert answer.body == b"ERR_HOOK_FAILED: The application could not be asked whether this is allowed; try again\n"
    assert answer.headers["Retry-After"] == "5"


async def test_hangs(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A hook that does not answer in time means 500; nothing is created, and meanwhile others are served (row 57)."""
    async with hooked(tmp_path / "data", timeout=0.3) as server:
        client = Client(session, server.target.url)
        server.app.door("pre-create")
        with nothing_created(server.target):
            asking = asyncio.create_task(create(client, "open"))
            await server.app.has("pre-create")
            assert (await client.head(client.base + "0" * 32)).status == 404
            check_refusal(await asking, 500, FAILED)


@pytest.mark.parametrize("way", WAYS)
async def test_shaped(server: Hooked, client: Client, way: str) -> None:
    """A hook chooses id, place and metadata, and adds to the answer; the client is told the truth (CRE-META-11)."""
    server.app.says(
        "pre-create",
        HookReply(
            upload_id="my-upload",
            path="2026/film.bin",
            metadata={"name": "caf\u00e9", "empty": ""},
            body="made",
            headers=(("X-A", "b"), ("Location", "/evil"), ("Upload-Offset", "9")),
        ),
    )
    answer = await create(client, way, **{"Upload-Metadata": "filename YQ=="})
    url = client.base + "my-upload"
    assert (answer.status, answer.body, answer.headers["X-A"]) == (201, b"made", "b")
    assert answer.headers.getall("Location") == [url]
    _, body = WAYS[way]
    assert answer.headers.get("Upload-Offset") == (None if body is None else str(len(body)))
    head = await client.head(url)
    encoded = base64.b64encode("caf\u00e9".encode()).decode()
    assert head.headers["Upload-Metadata"] in (f"name {encoded},empty", f"name {encoded},empty ")
    path = server.target.data_dir / "uploads" / "named" / "2026" / "film.bin"
    assert path.read_bytes() == (body or b"")
    assert (await client.delete(url)).status == 204
    assert not path.exists()


@pytest.mark.parametrize(("status", "body"), [(200, b"made"), (204, b"")])
async def test_another_success(server: Hooked, client: Client, status: int, body: bytes) -> None:
    """A hook may choose another success than 201; the Location stays, and what cannot have a body has none."""
    server.app.says("pre-create", HookReply(status=status, body="made"))
    answer = await create(client, "open")
    assert (answer.status, answer.body) == (status, body)
    assert ("Content-Type" in answer.headers) == bool(body)
    assert await client.offset(answer.headers["Location"]) == 0


async def test_a_header_twice(server: Hooked, client: Client) -> None:
    """A hook that wants a header twice has it twice."""
    server.app.says("pre-create", HookReply(headers=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))))
    answer = await create(client, "open")
    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("way", ["open", "with all", "with much"])
@pytest.mark.parametrize("path", [None, "elsewhere"], ids=["own place", "another place"])
async def test_id_is_taken(server: Hooked, client: Client, way: str, path: str | None) -> None:
    """An id that another upload has means 500; that one keeps its bytes, and who fills it is not disturbed (row 22)."""
    server.app.says("pre-create", HookReply(upload_id="taken"), HookReply(upload_id="taken", path=path))
    url = await client.create(10)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "10"})
        wire.send(b"hello")
        await server.target.until_stored(url, 5)
        with nothing_created(server.target):
            check_refusal(await create(client, way), 500, FAILED)
        wire.send(b"world")
        assert (await wire.answer()).status == 204
    async with unchanged(client, server.target, url):
        check_refusal(await create(client, way), 500, FAILED)
    assert (await client.get(url)).body == b"helloworld"


@pytest.mark.parametrize("way", ["open", "with all", "with much"])
async def test_path_is_taken(server: Hooked, client: Client, way: str) -> None:
    """A place that another upload has means 500, and so does one below or above it; nothing changes (row 22)."""
    server.app.says("pre-create", HookReply(path="a/b"))
    url = await client.create(5)
    for path in ("a/b", "a/b/c", "a"):
        server.app.says("pre-create", HookReply(path=path))
        with nothing_created(server.target):
            check_refusal(await create(client, way), 500, FAILED)
    assert (await client.patch(url, 0, b"hello")).status == 204
    assert (await client.get(url)).body == b"hello"


@pytest.mark.parametrize("places", [[None] * 4, ["a", "b", "c", "d"]], ids=["own place", "other places"])
async def test_two_at_once_want_one_id(server: Hooked, client: Client, places: list[str | None]) -> None:
    """Of several creations that a hook gives one id, one is made; the others change nothing of it, and leave nothing
    (row 22).
    """
    server.app.says("pre-create", *(HookReply(upload_id="same", path=place) for place in places))
    bodies = [b"aaaaa", b"bbbbb", b"ccccc", b"ddddd"]
    answers = await asyncio.gather(*(client.post({"Upload-Length": "5", **CT}, body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [201, 500, 500, 500]
    made = next(body for body, answer in zip(bodies, answers, strict=True) if answer.status == 201)
    assert (await client.get(client.base + "same")).body == made
    assert len(holdings(server.target)) == 2


async def test_one_id_while_a_body_comes(server: Hooked, client: Client) -> None:
    """A creation whose body is still coming is not ended by another one that a hook gives its id (row 22)."""
    server.app.says("pre-create", HookReply(upload_id="same"))
    async with await Wire.open(client.base) as wire:
        wire.start("POST", client.base, {**T, **CT, "Upload-Length": "10", "Content-Length": "10"})
        wire.send(b"hello")
        await server.app.has("pre-create")
        second = asyncio.create_task(create(client, "with all"))
        await server.app.has("pre-create", 2)
        wire.send(b"world")
        assert (await wire.answer()).status == 201
    check_refusal(await second, 500, FAILED)
    assert (await client.get(client.base + "same")).body == b"helloworld"


@pytest.mark.parametrize("way", WAYS)
async def test_told_once(server: Hooked, client: Client, way: str) -> None:
    """post-create is told once, and before any other fact of that upload; one that is complete is agreed to first."""
    answer = await create(client, way)
    url = answer.headers["Location"]
    if way == "open":
        await client.patch(url, 0, b"hello")
    await server.settle()
    told = server.app.of(url)
    assert told[0] == "pre-create"
    assert next(moment for moment in told if moment.startswith("post-")) == "post-create"
    assert told.count("post-create") == 1
    complete = way not in ("deferred", "with some", "partial")
    assert told.count("pre-finish") == told.count("post-finish") == complete
    if complete:
        assert told[-1] == "post-finish"


async def test_told_of_a_final_upload(server: Hooked, client: Client) -> None:
    """A hook sees a final upload with its length and its parts before it is made; its parts are told too (CAT-01)."""
    parts = [await client.upload(data, Upload_Concat="partial") for data in (b"abc", b"de")]
    answer = await client.post({"Upload-Concat": "final;" + " ".join(parts)})
    url = answer.headers["Location"]
    await server.settle()
    assert sorted(server.app.of(url)[:3]) == ["post-create", "pre-create", "pre-finish"]
    assert server.app.of(url)[-1] == "post-finish"
    assert len(server.app.of(url)) == 4
    asked = next(event for event in server.app.events("pre-create") if event.upload.id == url.rpartition("/")[2])
    assert (asked.upload.length, len(asked.upload.parts), asked.upload.kind) == (5, 2, "final")
    for part in parts:
        assert set(server.app.of(part)) == {"pre-create", "post-create", "pre-finish", "post-finish"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "5"}, 412),
        ({"Upload-Length": "-1"}, 400),
        ({}, 400),
        ({"Upload-Length": "3", **CT}, 413),
        ({"Upload-Concat": "final;/files/unknown"}, 404),
    ],
    ids=["version", "length", "no length", "too much", "parts"],
)
async def test_not_asked(server: Hooked, client: Client, headers: dict[str, str], status: int) -> None:
    """A request that is wrong by itself is nobody's question (CORE-VER-01)."""
    with nothing_created(server.target):
        answer = await client.send("POST", None, {**T, **headers}, b"hello" if "Content-Type" in headers else None)
    assert answer.status == status
    await server.settle()
    assert server.app.seen == []


async def test_chunked_body(server: Hooked, client: Client) -> None:
    """A body of unknown length is one creation like any other."""
    answer = await client.post({"Upload-Length": "10", **CT}, chunked(b"hello", b"world"))
    assert answer.status == 201
    await server.settle()
    told = server.app.of(answer.headers["Location"])
    assert [moment for moment in told if moment != "post-receive"] == [
        "pre-create",
        "post-create",
        "pre-finish",
        "post-finish",
    ]
