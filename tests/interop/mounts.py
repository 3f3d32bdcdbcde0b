"""Some ways of having a server, as the people have it whose clients come here."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

import tusd_py
from tests.support.client import Answer, Client
from tests.support.servers import MODES, WAYS, Target, process, running

MOUNTS = (*MODES, "cancelling", "guest")
"""`cancelling`: the runner cancels handlers whose client went away. `guest`: an application with a catch-all route that
was there before, and a middleware that wants a bearer token."""

PAGES = "/pages/"
"""What the guest's host shows to everybody."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Mount(Target):
    """A running server, and what its host wants to see in every request."""

    headers: Mapping[str, str] = field(default_factory=dict)


class Member(Client):
    """A client that sends what the host wants to see."""

    def __init__(self, session: Any, mount: Mount) -> None:
        super().__init__(session, mount.url)
        self._own = mount.headers

    async def send(
        self, method: str, url: str | None = None, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> Answer:
        """Send one request with exactly these headers and those that the host wants."""
        return await super().send(method, url, {**self._own, **(headers or {})}, data)


@contextlib.asynccontextmanager
async def mounted(
    mode: str, data_dir: Path, prepare: Callable[[web.Application], None] = lambda _: None
) -> AsyncIterator[Mount]:
    """Run a server until the block ends; `prepare` may add routes to its application, where it has one of ours."""
    if mode == "process":
        async with process(data_dir, **WAYS[mode]) as target:
            yield Mount(target.url, data_dir, mode, process=target.process)
        return
    token = secrets.token_urlsafe(16)
    app = _host(token) if mode == "guest" else web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=data_dir, **WAYS.get(mode, {}))
    prepare(app)
    async with running(app, handler_cancellation=mode == "cancelling") as url:
        headers = {"Authorization": f"Bearer {token}"} if mode == "guest" else {}
        yield Mount(f"{url}/files/", data_dir, mode, tus=tus, headers=headers)


def _host(token: str) -> web.Application:
    """Return somebody's application: nobody enters without the token, and every path has an answer already."""

    @web.middleware
    async def bearer(request: web.Request, handler: Handler) -> web.StreamResponse:
        # A browser asks without a token whether it may send one.
        is_public = request.method == "OPTIONS" or request.path.startswith(PAGES)
        if not is_public and request.headers.get("Authorization") != f"Bearer {token}":
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    async def catch_all(request: web.Request) -> web.Response:
        return web.Response(text=f"the host's own page for {request.path}")

    app = web.Application(middlewares=[bearer])
    app.router.add_route("*", "/{path:.*}", catch_all)
    return app
