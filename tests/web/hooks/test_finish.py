"""pre-finish: an upload is finished when the application agrees, refused when it does not, and nothing in between
looks like either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import CT, Answer, Client
from tests.support.hooked import LARGE, Hooked, hooked, settles, state_of
from tests.support.state import check_refusal, holdings, nothing_created
from tests.support.timed import name_of
from tests.support.waiting import until
from tusd_py.models.hook import HookReply

FINISH = ["pre-finish", "post-finish"]
REFUSED = HookReply(refuses=True, status=422, body="No cats", headers=(("X-Why", "cats"),))
SHAPED = HookReply(status=200, body='{"ok":1}', headers=(("Content-Type", "application/json"), ("X-Id", "7")))


async def patched(client: Client) -> tuple[str, Answer]:
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    return url, await client.patch(url, 5, b"world")


async def patched_much(client: Client) -> tuple[str, Answer]:
    url = await client.create(LARGE)
    return url, await client.patch(url, 0, b"a" * LARGE)


async def declared_late(client: Client) -> tuple[str, Answer]:
    url = await client.create(None)
    await client.patch(url, 0, b"hello")
    return url, await client.patch(url, 5, b"", {"Upload-Length": "5"})


async def partial(client: Client) -> tuple[str, Answer]:
    url = await client.create(5, Upload_Concat="partial")
    return url, await client.patch(url, 0, b"hello")


async def overflowing(client: Client) -> tuple[str, Answer]:
    url = await client.create(5)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"
        yield b"world"

    return url, await client.patch(url, 0, pieces())


async def created(client: Client) -> tuple[str, Answer]:
    return _made(await client.post({"Upload-Length": "5", **CT}, b"hello"))


async def created_much(client: Client) -> tuple[str, Answer]:
    return _made(await client.post({"Upload-Length": str(LARGE), **CT}, b"a" * LARGE))


async def created_with_checksum(client: Client) -> tuple[str, Answer]:
    checksum = {"Upload-Checksum": "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00="}
    return _made(await client.post({"Upload-Length": "5", **CT, **checksum}, b"hello"))


async def created_empty(client: Client) -> tuple[str, Answer]:
    return _made(await client.post({"Upload-Length": "0"}))


def _made(answer: Answer) -> tuple[str, Answer]:
    return answer.headers.get("Location", ""), answer


Way = Callable[[Client], Awaitable[tuple[str, Answer]]]
PATCHES: list[Way] = [patched, patched_much, declared_late, partial]
CREATIONS: list[Way] = [created, created_much, created_with_checksum, created_empty]
ways = pytest.mark.parametrize("way", [*PATCHES, *CREATIONS], ids=lambda way: way.__name__)
by_patch = pytest.mark.parametrize("way", PATCHES, ids=lambda way: way.__name__)
by_creation = pytest.mark.parametrize("way", CREATIONS, ids=lambda way: way.__name__)


@ways
async def test_agreed(server: Hooked, client: Client, way: Way) -> None:
    """Asked once, with every byte there, then told once; repeating the last request asks nobody (CORE-PATCH-12)."""
    url, answer = await way(client)
    assert answer.status in (201, 204)
    length = await client.offset(url)
    assert (await client.patch(url, length)).status == 204
    assert (await client.patch(url, length, b"x")).status == 413
    await server.settle()
    assert [moment for moment in server.app.of(url) if moment in FINISH] == FINISH
    (asked,), (told,) = server.app.events("pre-finish"), server.app.events("post-finish")
    assert (asked.upload.offset, asked.upload.length) == (told.upload.offset, told.upload.length) == (length, length)
    assert told.upload.is_finished
    assert asked.request.method == told.request.method == ("POST" if way in CREATIONS else "PATCH")
    assert len((await client.get(url)).body) == length


@ways
async def test_shaped(server: Hooked, client: Client, way: Way) -> None:
    """What the hook adds is in the answer that ends the upload, beside what the client needs."""
    server.app.says("pre-finish", SHAPED)
    url, answer = await way(client)
    assert (answer.status, answer.body) == (200, b'{"ok":1}')
    assert answer.headers.getall("Content-Type") == ["application/json"]
    assert answer.headers["X-Id"] == "7"
    assert ("Location" in answer.headers) == (way in CREATIONS)
    assert ("Upload-Offset" in answer.headers) == (way is not created_empty)
    assert len((await client.get(url)).body) == await client.offset(url)


@by_patch
async def test_refused(server: Hooked, client: Client, way: Way) -> None:
    """A refusal is the answer, and the truth ever after: 410, with the reason where there is a body; DELETE works."""
    server.app.says("pre-finish", REFUSED)
    url, answer = await way(client)
    assert (answer.status, answer.body, answer.headers["X-Why"]) == (422, b"No cats", "cats")
    assert "Upload-Offset" not in answer.headers
    head = await client.head(url)
    assert (head.status, head.headers["Cache-Control"]) == (410, "no-store")
    assert "Upload-Offset" not in head.headers
    for again in (await client.patch(url, 5), await client.patch(url, 10, b"x"), await client.get(url)):
        check_refusal(again, 410, "ERR_UPLOAD_REJECTED")
        assert b"No cats" in again.body
    await server.settle()
    assert server.app.of(url).count("pre-finish") == 1
    assert "post-finish" not in server.app.of(url)
    assert (await client.delete(url)).status == 204
    assert (await client.get(url)).status == 404
    assert not server.target.data_path(url).exists()
    await server.settle()
    assert server.app.of(url)[-2:] == ["pre-terminate", "post-terminate"]


async def test_refused_by_an_overflow(server: Hooked, client: Client) -> None:
    """Also where the body brings more than fits, it is the hook that decides about what fits (CORE-BODY-02)."""
    url, answer = await overflowing(client)
    assert answer.status == 413
    server.app.says("pre-finish", REFUSED)
    bad, answer = await overflowing(client)
    assert answer.status == 422
    await server.settle()
    assert [moment for moment in server.app.of(url) if moment in FINISH] == FINISH
    assert (await client.head(url)).status == 200
    assert (await client.head(bad)).status == 410


@by_creation
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [(REFUSED, 422, b"No cats"), (RuntimeError("secret"), 500, None)],
    ids=["refused", "failed"],
)
async def test_creation_not_agreed(
    server: Hooked, client: Client, *, way: Way, answer: HookReply | Exception, status: int, body: bytes | None
) -> None:
    """A creation that is complete and not agreed to leaves nothing, whether it is refused or nobody could be asked.

    Nobody is told of it, or of its end where its creation was told (CWU-04).
    """
    server.app.says("pre-finish", answer)
    with nothing_created(server.target):
        url, got = await way(client)
    assert (got.status, url) == (status, "")
    if body is None:
        check_refusal(got, 500, "ERR_HOOK_FAILED")
        assert b"secret" not in got.body
    else:
        assert (got.body, got.headers["X-Why"]) == (body, "cats")
    await server.settle()
    told = [str(event.moment) for event in server.app.seen]
    small = way in (created, created_empty)
    assert [moment for moment in told if moment != "post-receive"] == [
        "pre-create",
        *(() if small else ("post-create",)),
        "pre-finish",
        *(() if small else ("post-terminate",)),
    ]


@pytest.mark.parametrize(
    ("answer", "status"), [(REFUSED, 422), (RuntimeError("secret"), 500), (SHAPED, 200)], ids=lambda value: None
)
async def test_final(server: Hooked, client: Client, answer: HookReply | Exception, status: int) -> None:
    """A final upload is asked about like any other; one that is not agreed to leaves its parts as they were."""
    parts = [await client.upload(data, Upload_Concat="partial") for data in (b"abc", b"de")]
    await server.settle()
    server.app.seen.clear()
    server.app.says("pre-finish", answer)
    before = holdings(server.target)
    got = await client.post({"Upload-Concat": "final;" + " ".join(parts)})
    await server.settle()
    told = [str(event.moment) for event in server.app.seen]
    if status == 200:
        assert (got.status, got.body) == (200, b'{"ok":1}')
        assert (await client.get(got.headers["Location"])).body == b"abcde"
        # Told as soon as it is a fact, which is when the hook has agreed.
        assert told == ["pre-create", "pre-finish", "post-create", "post-finish"]
    else:
        assert (got.status, "Location" in got.headers) == (status, False)
        assert holdings(server.target) == before
        assert told == ["pre-create", "pre-finish"]
    assert [(await client.get(part)).body for part in parts] == [b"abc", b"de"]


async def test_a_part_that_was_refused(server: Hooked, client: Client) -> None:
    """A part that a hook refused cannot become part of anything (CAT-09)."""
    good = await client.upload(b"abc", Upload_Concat="partial")
    server.app.says("pre-finish", REFUSED)
    bad, _ = await partial(client)
    with nothing_created(server.target):
        answer = await client.post({"Upload-Concat": f"final;{good} {bad}"})
    assert answer.status == 410


async def test_a_refused_upload_expires(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """What was refused goes away by itself, as what was never finished does (EXP-06)."""
    async with hooked(tmp_path / "data", expire_after="1s", sweep_interval="20ms") as server:
        client = Client(session, server.target.url)
        server.app.says("pre-finish", REFUSED)
        url, _ = await patched(client)
        assert state_of(server.target, url) == "rejected"
        await settles(lambda: client.head(url), 404)

        async def is_empty() -> bool:
            return holdings(server.target) == set()

        await until(is_empty)


@pytest.mark.parametrize("text", ["a\nb", "caf\u00e9", "x" * 5000], ids=["lines", "not ASCII", "long"])
async def test_words_of_a_refusal(server: Hooked, client: Client, text: str) -> None:
    """The words of a hook reach the client whole, and later, as far as they are kept."""
    server.app.says("pre-finish", HookReply(refuses=True, body=text))
    url, answer = await patched(client)
    assert (answer.status, answer.body.decode()) == (400, text)
    assert (await client.get(url)).body.decode() == f"ERR_UPLOAD_REJECTED: {text[:1000]}\n"


async def test_not_asked_before_the_end(server: Hooked, client: Client) -> None:
    """Nobody is asked about an upload that lacks bytes, was cut, or whose checksum was wrong (CHK-03)."""
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    await client.patch(url, 5, b"world", {"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="})
    await client.patch(url, 5, b"too much")
    await server.settle()
    assert server.app.events("pre-finish") == []
    assert name_of(url) in {event.upload.id for event in server.app.seen}
