"""Hooks and jobs that are URLs: what they are sent and what they answer."""

from __future__ import annotations

import asyncio
import base64
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.hooks.events import Attempt, event
from tusd_py.errors import HookFailed
from tusd_py.hooks.delivery import Letter
from tusd_py.hooks.http import HttpHandler, HttpTask, Post
from tusd_py.hooks.payload import PayloadStyle
from tusd_py.hooks.signature import verify_signature
from tusd_py.models.hook import HookReply, Moment, RequestInfo

NO_WAITING = Post("", backoff=0.0)


class Receiver:
    """A server that writes down what it gets and answers in turn, the last answer for ever."""

    def __init__(self, *answers: web.Response) -> None:
        self.answers = list(answers)
        self.got: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append(request)
        self.bodies.append(await request.read())
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=given.status, body=given.body, headers=given.headers)


Start = Callable[..., Awaitable[Receiver]]
Make = Callable[..., HttpHandler]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def receiver(stack: AsyncExitStack) -> Start:
    async def start(*answers: web.Response) -> Receiver:
        receiver = Receiver(*(answers or (web.json_response({}),)))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", receiver.answer)
        server = TestServer(app)
        await server.start_server()
        stack.push_async_callback(server.close)
        receiver.url = str(server.make_url("/hook"))
        return receiver

    return start


@pytest.fixture
async def handler(stack: AsyncExitStack) -> Make:
    def make(url: str, *, post: Post = NO_WAITING, **options: Any) -> HttpHandler:
        made = HttpHandler("url", replace(post, url=url), moments=list(Moment), **options)
        stack.push_async_callback(made.close)
        return made

    return make


async def ask(handler: HttpHandler, moment: Moment = Moment.PRE_CREATE, **fields: Any) -> HookReply:
    async with asyncio.timeout(60):
        return await handler.handle(event(moment, **fields), key="the-key")


@pytest.mark.parametrize("style", list(PayloadStyle))
async def test_url_is_told_and_answers(style: PayloadStyle, receiver: Start, handler: Make) -> None:
    """A POST with the payload; what it is about stands in headers as well."""
    there = await receiver(web.json_response({"rejectUpload": True, "HTTPResponse": {"StatusCode": 418}}))
    letter = Letter(style=style, locate=lambda _: Path("/data/x"))
    reply = await ask(handler(there.url, letter=letter), Moment.PRE_FINISH)
    assert HookReply(refuses=True, status=418) == reply
    told = json.loads(there.bodies[0])
    assert ("Type" in told) is (style is PayloadStyle.TUSD_V2)
    assert "/data/x" == told.get("Event", told)["Upload"]["Storage"]["Path"]
    [request] = there.got
    assert "POST" == request.method
    assert {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Hook-Name": "pre-finish",
        "Idempotency-Key": "the-key",
    }.items() <= request.headers.items()
    assert request.headers["User-Agent"].startswith("tusd-py/0")
    assert "X-Tus-Signature" not in request.headers


@pytest.mark.parametrize(
    "answer",
    [web.Response(status=204), web.Response(), web.Response(text=" \n"), web.Response(status=201, text="{}")],
    ids=["204", "empty", "blank", "text/plain"],
)
async def test_a_good_answer_may_be_empty(answer: web.Response, receiver: Start, handler: Make) -> None:
    """Whatever its type: tusd insists on JSON there, and its users stumble."""
    assert HookReply() == await ask(handler((await receiver(answer)).url))


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 499])
async def test_any_other_status_is_a_failure(status: int, receiver: Start, handler: Make) -> None:
    """And final: asking again would give the same."""
    there = await receiver(web.Response(status=status))
    with pytest.raises(HookFailed, match=f"answered {status}"):
        await ask(handler(there.url))
    assert 1 == len(there.got)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int, receiver: Start, handler: Make) -> None:
    """Row 55: it could lead into the network of the server, with the payload."""
    target = await receiver()
    there = await receiver(web.Response(status=status, headers={"Location": target.url}))
    with pytest.raises(HookFailed, match=f"answered {status}"):
        await ask(handler(there.url))
    assert [] == target.got


@pytest.mark.parametrize("body", ["ok", "<html>", "[]", "null", '{"ChangeFileInfo":{"ID":"../../etc/cron.d/x"}}'])
async def test_garbage_is_a_failure(body: str, receiver: Start, handler: Make) -> None:
    """Rows 22 and 55: it is no agreement, and asking again would give the same."""
    there = await receiver(web.Response(text=body, content_type="application/json"))
    with pytest.raises(HookFailed):
        await ask(handler(there.url))
    assert 1 == len(there.got)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_trouble_that_may_be_over_soon_is_waited_for(status: int, receiver: Start, handler: Make) -> None:
    """As often as `retries` says, with the same key and the same body."""
    there = await receiver(web.Response(status=status), web.Response(status=status), web.json_response({}))
    await ask(handler(there.url, post=replace(NO_WAITING, retries=2)))
    assert ["the-key"] * 3 == [request.headers["Idempotency-Key"] for request in there.got]
    assert 1 == len(set(there.bodies))


async def test_trouble_that_stays_is_a_failure(receiver: Start, handler: Make) -> None:
    """After the last try."""
    there = await receiver(web.Response(status=503))
    with pytest.raises(HookFailed, match="answered 503"):
        await ask(handler(there.url, post=replace(NO_WAITING, retries=2)))
    assert 3 == len(there.got)


async def test_waiting_between_tries_counts_against_the_deadline(receiver: Start, handler: Make) -> None:
    """One deadline for everything, and the message says what went wrong before."""
    there = await receiver(web.Response(status=503))
    with pytest.raises(HookFailed, match=r"within 0\.2 s; before that, the URL answered 503"):
        await ask(handler(there.url, post=replace(NO_WAITING, backoff=1000.0), timeout=0.2))
    assert 1 == len(there.got)


async def test_every_try_is_signed_anew(receiver: Start, handler: Make) -> None:
    """Row 59: over time and body; a receiver can tell a replay."""
    there = await receiver(web.Response(status=503), web.json_response({}))
    times = iter([1000.0, 2000.5])
    await ask(handler(there.url, post=replace(NO_WAITING, secret="s3cret", now=lambda: next(times))))
    headers = [request.headers["X-Tus-Signature"] for request in there.got]
    assert ["t=1000", "t=2000"] == [header.partition(",")[0] for header in headers]
    for header, body, now in zip(headers, there.bodies, (1000.0, 2000.0), strict=True):
        assert verify_signature("s3cret", header, body, now=now)
        assert not verify_signature("other", header, body, now=now)


async def test_headers_of_the_client_are_forwarded_only_if_named(receiver: Start, handler: Make) -> None:
    """Row 58; and those that say what this request is are never the client's."""
    there = await receiver()
    sent = {
        "authorization": "Bearer x",
        "cookie": "a=b",
        "x-mine": "\udcff",
        "host": "evil",
        "content-type": "evil",
        "content-length": "7",
        "transfer-encoding": "chunked",
        "hook-name": "evil",
        "x-tus-signature": "evil",
        "idempotency-key": "evil",
    }
    request = RequestInfo(headers=(*sent.items(), ("X-Mine", "two")))
    await ask(handler(there.url), request=request)
    await ask(handler(there.url, post=replace(NO_WAITING, forward=[name.upper() for name in sent])), request=request)
    assert not {"Authorization", "Cookie", "X-Mine"} & there.got[0].headers.keys()
    headers = there.got[1].headers
    assert ("Bearer x", "a=b") == (headers["Authorization"], headers["Cookie"])
    assert ["\ufffd", "two"] == headers.getall("X-Mine")
    assert "X-Tus-Signature" not in headers
    assert "evil" not in " ".join(headers.values())


async def test_credentials_of_the_url_are_a_header(receiver: Start, handler: Make) -> None:
    """Row 58: they are in no error; a client cannot put its own in their place."""
    there = await receiver(web.Response(status=404))
    url = there.url.replace("http://", "http://us%40er:p%C3%A4ss@") + "?token=t0ken#x"
    request = RequestInfo(headers=(("authorization", "Bearer x"),))
    with pytest.raises(HookFailed) as caught:
        await ask(handler(url, post=replace(NO_WAITING, forward=["Authorization"])), request=request)
    assert ["Basic " + base64.b64encode("us@er:päss".encode()).decode()] == there.got[0].headers.getall("Authorization")
    assert "token=t0ken" == there.got[0].query_string
    for said in ("".join(traceback.format_exception(caught.value)), repr(Post(url, secret="s3cret"))):
        assert not any(secret in said for secret in ("us@er", "us%40er", "p%C3", "päss", "t0ken", "s3cret"))


@pytest.mark.parametrize("url", ["ftp://u:secret@h/", "file:///etc/passwd", "//h/x", "http:///x", "x"])
def test_only_web_urls_are_taken(url: str) -> None:
    """At once, without saying what was in it."""
    with pytest.raises(ValueError, match="http://") as caught:
        HttpTask("task", Post(url))
    assert "secret" not in str(caught.value)


async def test_cookies_are_not_kept(receiver: Start, handler: Make) -> None:
    """Uploads of different people have nothing in common."""
    there = await receiver(web.Response(headers={"Set-Cookie": "a=b"}))
    # Of a server without a name no client would keep one.
    mine = handler(there.url.replace("127.0.0.1", "localhost"))
    await ask(mine)
    await ask(mine)
    assert "Cookie" not in there.got[1].headers


async def test_proxies_of_the_environment_are_not_used(
    receiver: Start, handler: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are the passwords of a .netrc."""
    proxy, there = await receiver(), await receiver()
    monkeypatch.setenv("http_proxy", proxy.url)
    await ask(handler(there.url))
    assert (0, 1) == (len(proxy.got), len(there.got))


async def test_closed_is_closed(receiver: Start, handler: Make) -> None:
    """Twice as well; nothing is opened again."""
    there = await receiver()
    mine = handler(there.url)
    await ask(mine)
    await mine.close()
    await mine.close()
    with pytest.raises(HookFailed, match="shutting down"):
        await ask(mine)


async def work(url: str, post: Post = NO_WAITING) -> object:
    task = HttpTask("task", replace(post, url=url))
    try:
        return await task(Attempt(event()))
    finally:
        await task.close()


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (web.json_response([1, {"a": None}]), [1, {"a": None}]),
        (web.Response(status=204), None),
        (web.json_response(3), 3),
    ],
    ids=["list", "nothing", "number"],
)
async def test_answer_to_a_job_is_its_result(answer: web.Response, result: object, receiver: Start) -> None:
    """Any JSON; the key is that of the job."""
    there = await receiver(answer)
    assert result == await work(there.url)
    assert ("abc123:task", "post-finish") == tuple(there.got[0].headers[n] for n in ("Idempotency-Key", "Hook-Name"))


@pytest.mark.parametrize("answer", [web.Response(status=503), web.Response(text="done")], ids=["503", "garbage"])
async def test_a_job_is_tried_once_an_attempt(answer: web.Response, receiver: Start) -> None:
    """The job has attempts of its own."""
    there = await receiver(answer)
    with pytest.raises(HookFailed):
        await work(there.url)
    assert 1 == len(there.got)
