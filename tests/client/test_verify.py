"""What has arrived is compared with what was sent, however the server lets it be seen."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Told
from tests.client.toy import Reply, Request, Rule, Toy, cuts, normal, says, telling
from tests.support.servers import Target
from tusd_py.client.client import Client
from tusd_py.client.errors import GaveUp, NotVerified
from tusd_py.client.records import Checking, Event, Options, Uploaded
from tusd_py.client.urlstore import UrlStore

MIB = 2**20
Make = Callable[..., Path]


async def bring(
    url: str, path: Path, told: Told | None = None, store: UrlStore | None = None, **options: Any
) -> Uploaded:
    async with Client(url, store=store, options=Options(**{"retry_for": 60.0, "verify": True, **options})) as client:
        return await client.upload(path, on_event=told.append if told is not None else None)


def reporting(digest: bytes) -> Rule:
    value = f"sha-512=:AAAA:, sha-256=:{b64encode(digest).decode()}:"
    return telling(Repr_Digest=value)


@pytest.mark.parametrize("options", [{}, {"parallel": 3}, {"checksum": True}])
@pytest.mark.parametrize("size", [0, 5, 4 * MIB + 1])
async def test_real_servers_are_read_back(
    server: Target, make_file: Make, told: Told, size: int, options: dict[str, Any]
) -> None:
    """Whatever way the bytes went."""
    done = await bring(server.url, make_file(size), told, **options)
    assert done.verified
    assert ["Created", "Checking", "Finished"] == told.story


async def test_a_digest_that_is_reported_is_enough(toy: Toy, make_file: Make) -> None:
    """RFC 9530: it is asked for, and nothing is read back."""
    path = make_file(2 * MIB)
    toy.always("HEAD", reporting(hashlib.sha256(path.read_bytes()).digest()))
    assert (await bring(toy.url, path)).verified
    assert "OPTIONS POST PATCH HEAD" == toy.methods
    assert "sha-256=10" == toy.asked("HEAD")[0].headers["Want-Repr-Digest"]


async def test_a_wrong_digest_is_told(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """And the next run does not go on with what is wrong."""
    toy.always("HEAD", reporting(hashlib.sha256(b"other").digest()))
    with pytest.raises(NotVerified, match="is not what was sent"):
        await bring(toy.url, make_file(2 * MIB), store=store)
    assert [] == await store.list()


@pytest.mark.parametrize("value", ["sha-256=:AAA:", "sha-256=AAAA", "nonsense", ""])
async def test_a_digest_that_is_none_counts_for_nothing(toy: Toy, make_file: Make, value: str) -> None:
    """Then it is read back."""
    toy.always("HEAD", telling(Repr_Digest=value))
    assert (await bring(toy.url, make_file(MIB))).verified
    assert "OPTIONS POST PATCH HEAD GET" == toy.methods


@pytest.mark.parametrize("damage", [b"", b"x", b"more", b"less"])
async def test_damage_is_noticed(toy: Toy, make_file: Make, damage: bytes) -> None:
    """Other bytes, more, or fewer."""

    def damaging(toy: Toy, request: Request) -> Reply:
        reply = toy.answer(request)
        data = reply.body
        reply.body = {b"": bytes(len(data)), b"x": b"x" + data[1:], b"more": data + damage, b"less": data[4:]}[damage]
        return reply

    toy.always("GET", damaging)
    with pytest.raises(NotVerified):
        await bring(toy.url, make_file(2 * MIB))


@pytest.mark.parametrize("answer", [says(404), says(405), says(403, "no downloads"), says(302, Location="/cdn")])
async def test_nobody_can_tell(toy: Toy, make_file: Make, answer: Rule) -> None:
    """A server that lets nothing be read back, and reports nothing."""
    toy.always("GET", answer)
    with pytest.raises(NotVerified, match=r"does not let .* be read back"):
        await bring(toy.url, make_file(MIB))


async def test_an_upload_that_was_taken_away_at_once(toy: Toy, make_file: Make) -> None:
    """404 to HEAD: the application has moved it."""
    toy.always("HEAD", says(404))
    with pytest.raises(NotVerified):
        await bring(toy.url, make_file(MIB))


@pytest.mark.parametrize("trouble", [cuts, says(503), says(429)])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_checking_is_tried_again(toy: Toy, make_file: Make, told: Told, trouble: Rule, method: str) -> None:
    """Like everything."""
    toy.on(method, trouble)
    assert (await bring(toy.url, make_file(MIB), told)).verified
    assert "Retrying" in told.story or trouble is cuts


async def test_reading_back_goes_on_where_it_broke_off(toy: Toy, make_file: Make) -> None:
    """By a range; a server that sends everything instead is read from the beginning."""

    def whole(toy: Toy, request: Request) -> Reply:
        ranges.append(request.headers.pop("Range"))
        return toy.answer(request)

    ranges: list[str] = []
    toy.on("GET", breaking_off, breaking_off, whole)
    assert (await bring(toy.url, make_file(2 * MIB))).verified
    assert [None, f"bytes={MIB // 2}-", None] == [each.headers.get("Range") for each in toy.asked("GET")]
    assert [f"bytes={MIB}-"] == ranges


def breaking_off(toy: Toy, request: Request) -> Reply:
    """Announce everything, and send half a MiB."""
    reply = toy.answer(request)
    reply.headers["Content-Length"] = str(len(reply.body))
    reply.body = reply.body[: MIB // 2]
    return reply


async def test_another_range_than_was_asked_for_is_not_taken_for_it(toy: Toy, make_file: Make) -> None:
    """Then nobody asks for one any more."""
    toy.on("GET", breaking_off, telling(Content_Range=f"bytes 5-{2 * MIB - 1}/{2 * MIB}"), breaking_off)
    assert (await bring(toy.url, make_file(2 * MIB))).verified
    assert [None, f"bytes={MIB // 2}-", None, None] == [each.headers.get("Range") for each in toy.asked("GET")]


async def test_reading_back_ends_where_it_does_not_get_further(toy: Toy, make_file: Make) -> None:
    """A server that always breaks off at the same place, and knows no ranges."""

    def without_ranges(toy: Toy, request: Request) -> Reply:
        request.headers.pop("Range", None)
        return breaking_off(toy, request)

    toy.always("GET", without_ranges)
    with pytest.raises(GaveUp):
        await bring(toy.url, make_file(2 * MIB), retry_for=0.3)


async def test_an_answer_without_a_length_may_have_been_cut(toy: Toy, make_file: Make) -> None:
    """As HTTP/1.0 has them: then it is read again."""

    def without(toy: Toy, request: Request) -> Reply:
        reply = toy.answer(request)
        reply.headers["Content-Length"] = ""
        reply.body = reply.body[:MIB]
        return reply

    toy.on("GET", without)
    assert (await bring(toy.url, make_file(2 * MIB))).verified
    assert 2 == len(toy.asked("GET"))


async def test_a_file_that_changes_while_it_is_compared(toy: Toy, make_file: Make) -> None:
    """What has arrived stays: it was right, or not; nobody can tell."""
    path = make_file(2 * MIB)

    def change(event: Event) -> None:
        if isinstance(event, Checking):
            os.truncate(path, 5)

    async with Client(toy.url, options=Options(verify=True)) as client:
        with pytest.raises(NotVerified, match="nobody can tell"):
            await client.upload(path, on_event=change)
    assert 2 * MIB == len(toy.uploads["/files/0"])


async def test_a_server_that_stays_away_is_given_up_and_found_again(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """Everything had arrived: the next run only compares."""
    path = make_file(2 * MIB)
    toy.always("GET", says(503))
    with pytest.raises(GaveUp):
        await bring(toy.url, path, store=store, retry_for=0.2)
    toy.on("GET", normal)
    toy.requests.clear()
    done = await bring(toy.url, path, store=store)
    assert (True, 0) == (done.verified, done.sent)
    assert "OPTIONS HEAD HEAD GET" == toy.methods
