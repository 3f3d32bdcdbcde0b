"""A page with Uppy, its files from npm, and the uploads, all of one origin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aiohttp import web

import tusd_py

HERE = Path(__file__).parent
UPPY = HERE / "node_modules" / "uppy" / "dist"


async def page(_: web.Request) -> web.FileResponse:
    """Answer with the page."""
    return web.FileResponse(HERE / "index.html")


def make_app() -> web.Application:
    """Return the application."""
    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_static("/uppy", UPPY)
    tusd_py.setup(app, "/files", data_dir="data")
    return app


if __name__ == "__main__":
    if not UPPY.is_dir():
        sys.exit("Uppy is not here yet: run npm ci in this folder first")
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
