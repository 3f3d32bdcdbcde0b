"""Uploads inside an aiohttp application: three lines of it are about tusd-py."""

from __future__ import annotations

import os

from aiohttp import web

import tusd_py


async def hello(_: web.Request) -> web.Response:
    """Answer what the application answered before there were uploads."""
    return web.Response(text="hello\n")


app = web.Application()
app.router.add_get("/", hello)
tusd_py.setup(app, "/files", data_dir="data", max_size="10GiB")

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
