"""A receiver of hooks: says who may upload what, and remembers what has arrived, every upload once."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
from aiohttp import web

from tusd_py import verify_signature

log = logging.getLogger("receiver")

DATABASE: web.AppKey[aiosqlite.Connection] = web.AppKey("database", aiosqlite.Connection)
SECRET = Path("secret").read_text(encoding="utf-8").strip()


async def receive(request: web.Request) -> web.Response:
    """Answer one hook."""
    body = await request.read()
    # Over the bytes as they came, before anything is believed. It knows the time too: an old letter is no letter.
    if not verify_signature(SECRET, request.headers.get("X-Tus-Signature"), body, now=time.time()):
        raise web.HTTPForbidden(text="not signed with our secret, or not now\n")
    event = json.loads(body)
    upload = event["Event"]["Upload"]
    if event["Type"] == "pre-create":
        return web.json_response(decide(upload))
    if event["Type"] == "post-finish":
        await remember(request.app[DATABASE], request.headers.get("Idempotency-Key", ""), upload)
    return web.Response(status=204)


def decide(upload: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to somebody who wants to upload; the empty one lets them."""
    if upload["MetaData"].get("filename"):
        return {}
    response = {"StatusCode": 422, "Body": '{"problem": "no filename"}', "Header": {"Content-Type": "application/json"}}
    return {"RejectUpload": True, "HTTPResponse": response}


async def remember(database: aiosqlite.Connection, key: str, upload: dict[str, Any]) -> None:
    """Take an upload over. The same letter may come twice: the key says so, and the second one changes nothing."""
    # A header is not signed. This key is made of what is.
    if key != f"{upload['ID']}:post-finish":
        raise web.HTTPBadRequest(text="the key is not that of this event\n")
    row = (key, upload["MetaData"]["filename"], upload["Size"])
    # Key and work in one transaction. Answer after the commit: without an answer, the letter comes again.
    added = await database.execute(
        "INSERT INTO arrived (key, filename, size) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row
    )
    await database.commit()
    log.info("arrived: %s (%d bytes)" if added.rowcount else "known already: %s (%d bytes)", *row[1:])


async def open_database(app: web.Application) -> AsyncIterator[None]:
    """Keep what arrived, and by its key that it did."""
    async with aiosqlite.connect("arrived.sqlite3") as database:
        await database.execute("CREATE TABLE IF NOT EXISTS arrived (key TEXT PRIMARY KEY, filename TEXT, size INTEGER)")
        app[DATABASE] = database
        yield


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    app = web.Application()
    app.cleanup_ctx.append(open_database)
    app.router.add_post("/hooks", receive)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "9000")), access_log=None)
