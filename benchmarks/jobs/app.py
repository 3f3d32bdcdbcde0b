"""An application whose tasks and hooks do nothing: `python -m benchmarks.jobs.app JSON`.

Without JSON it has no uploads, and answers every POST: a receiver of hooks and jobs that are URLs.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Mapping
from typing import Any

from aiohttp import web

import tusd_py
from benchmarks.own import READY
from tusd_py import FinishedUpload, Settings

PATH = "/files"
NOOPS = ("noop", "noop-2", "noop-3")
"""Names of the tasks, as far as they are wanted."""
ENDLESS = "endless"
"""Name of a task, and of the metadata that uploads have for which it is."""


async def _do_nothing(_: object) -> None:
    pass


async def _never_end(_: FinishedUpload) -> None:
    await asyncio.Event().wait()


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


def application(settings: Mapping[str, Any], *, tasks: int, endless: bool, hook: bool) -> web.Application:
    """Return an application with uploads.

    Args:
        settings: of the service.
        tasks: how many of `NOOPS` are done for every finished upload.
        endless: whether there is a task that never ends.
        hook: whether a coroutine is asked before an upload is made.
    """
    app = web.Application()
    tus = tusd_py.setup(app, PATH, settings=Settings.make(**settings))
    for name in NOOPS[:tasks]:
        tus.task(name)(_do_nothing)
    if endless:
        # Before all others, so that it has its place when they come.
        tus.task(ENDLESS, when={"metadata": {ENDLESS: "*"}}, priority=1)(_never_end)
    if hook:
        tus.hook("pre-create")(_do_nothing)
    return app


def receiver() -> web.Application:
    """Return an application that has nothing to object to."""
    app = web.Application()
    app.router.add_post(f"{PATH}/", _answer)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    given = sys.argv[1:]
    app = application(**json.loads(given[0])) if given else receiver()
    server = socket.create_server(("127.0.0.1", 0))

    async def announce(_: web.Application) -> None:
        # Whoever connects from now on waits in the queue of the socket.
        sys.stdout.write(f"{READY}http://127.0.0.1:{server.getsockname()[1]}{PATH}/\n")
        sys.stdout.flush()

    app.on_startup.append(announce)
    web.run_app(app, sock=server, access_log=None, print=None)


if __name__ == "__main__":
    main()
