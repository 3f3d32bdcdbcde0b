"""An application on another event loop: `python -m tests.support.uvloop_app DATA_DIR`. Ends with its standard input."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop
from aiohttp import web

import tusd_py
from tests.support.servers import READY, running


async def serve(data_dir: str) -> None:
    """Serve until standard input ends; then say how bodies came in, as JSON."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=data_dir)
    async with running(app) as url:
        sys.stdout.write(f"{READY}{url}/files/\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    sys.stdout.write(msgspec.json.encode(tus.engine.received).decode())


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
