"""What one writes first in aiohttp, without any of the rules of tus: python naive_aiohttp.py PORT DIRECTORY."""

import itertools
import sys
from pathlib import Path

import aiofiles
from aiohttp import web

port, directory = int(sys.argv[1]), Path(sys.argv[2])
numbers = itertools.count()


async def create(_: web.Request) -> web.Response:
    """Name a file."""
    return web.Response(status=201, headers={"Location": f"/files/{next(numbers)}"})


async def append(request: web.Request) -> web.Response:
    """Write the body behind what is there."""
    async with aiofiles.open(directory / request.match_info["name"], "ab") as file:
        async for chunk in request.content.iter_any():
            await file.write(chunk)
        size = await file.tell()
    return web.Response(status=204, headers={"Upload-Offset": str(size)})


async def head(request: web.Request) -> web.Response:
    """Say how large a file is."""
    path = directory / request.match_info["name"]
    return web.Response(headers={"Upload-Offset": str(path.stat().st_size if path.exists() else 0)})


app = web.Application()
app.add_routes([web.post("/files/", create), web.patch("/files/{name}", append), web.head("/files/{name}", head)])
web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)
