"""Our server with one thing broken: what a server that is nearly right looks like from outside."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.servers import running, serve

HOP = {"connection", "transfer-encoding", "host", "content-length", "date", "server", "keep-alive", "expect"}


@dataclass
class Asked:
    """A request that can be changed before it is passed on."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """An answer that can be changed before it is sent."""

    status: int
    reason: str | None
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Asked], Awaitable[Reply]]
Break = Callable[[Asked, Handler], Awaitable[Reply]]


def drops(*names: str, methods: str = "") -> Break:
    """Leave these headers out of every answer, or of those to some methods."""

    async def change(asked: Asked, ask: Handler) -> Reply:
        reply = await ask(asked)
        if not methods or asked.method in methods.split():
            for name in [each for each in reply.headers if each.lower() in {name.lower() for name in names}]:
                del reply.headers[name]
        return reply

    return change


def answers(method: str, status: int, instead: int) -> Break:
    """Answer another status than the right one."""

    async def change(asked: Asked, ask: Handler) -> Reply:
        reply = await ask(asked)
        if asked.method == method and reply.status == status:
            reply.status, reply.reason = instead, None
        return reply

    return change


def ignores(name: str, method: str = "", instead: str | None = None) -> Break:
    """Behave as if a header of the request were not there, or were another one."""

    async def change(asked: Asked, ask: Handler) -> Reply:
        if name in asked.headers and method in ("", asked.method):
            del asked.headers[name]
            asked.headers |= {} if instead is None else {name: instead}
        return await ask(asked)

    return change


def says(name: str, change: Callable[[str], str], methods: str = "") -> Break:
    """Change the value of a header of the answers."""

    async def apply(asked: Asked, ask: Handler) -> Reply:
        reply = await ask(asked)
        if not methods or asked.method in methods.split():
            for each in reply.headers:
                if each.lower() == name.lower():
                    reply.headers[each] = change(reply.headers[each])
        return reply

    return apply


@contextlib.asynccontextmanager
async def broken(*breaks: Break, **settings: object) -> AsyncIterator[str]:
    """Run our server behind a front that breaks something; yield the URL of the front."""
    async with contextlib.AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        target = await stack.enter_async_context(serve("embedded", place / "data", **settings))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))

        async def forward(asked: Asked) -> Reply:
            url = URL(target.url.removesuffix("/files/") + asked.path, encoded=True)
            skip = {"Content-Type", "User-Agent", "Accept", "Accept-Encoding"}
            async with session.request(
                asked.method,
                url,
                headers=asked.headers,
                data=asked.body or None,
                allow_redirects=False,
                skip_auto_headers=skip,
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
                return Reply(answer.status, answer.reason, kept, await answer.read())

        async def handle(request: web.Request) -> web.Response:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
            asked = Asked(request.method, request.raw_path, {**headers, "Host": request.host}, await request.read())
            ask: Handler = forward
            for change in breaks:
                ask = _around(change, ask)
            reply = await ask(asked)
            response = web.Response(status=reply.status, reason=reply.reason, headers=reply.headers, body=reply.body)
            if "Content-Type" not in reply.headers:
                response.headers.pop("Content-Type", None)
            return response

        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", handle)
        yield await stack.enter_async_context(running(app)) + "/files/"


def _around(change: Break, inner: Handler) -> Handler:
    async def ask(asked: Asked) -> Reply:
        return await change(asked, inner)

    return ask
