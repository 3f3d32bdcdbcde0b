"""How many requests aiohttp answers when nothing is done with them: python empty_aiohttp.py PORT DIRECTORY."""

import sys

from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    """Read the body and forget it."""
    await request.read()
    if request.method == "POST":
        return web.Response(
            status=201, headers={"Location": "/files/0", "Upload-Offset": request.headers["Upload-Length"]}
        )
    return web.Response(status=200 if request.method == "HEAD" else 204, headers={"Upload-Offset": "0"})


app = web.Application()
app.router.add_route("*", "/files/{name:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
