"""Uploads for people who are signed in, each of whom sees only their own."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import AsyncIterator

import aiosqlite
from aiohttp import web
from aiohttp.typedefs import Handler

import tusd_py

# Yours are in a database, the passwords as salted hashes.
USERS = {"ada": "difference", "alan": "bombe"}

SESSIONS: web.AppKey[dict[str, str]] = web.AppKey("sessions", dict)
OWNERS: web.AppKey[aiosqlite.Connection] = web.AppKey("owners", aiosqlite.Connection)
USER: web.RequestKey[str] = web.RequestKey("user", str)


async def login(request: web.Request) -> web.Response:
    """Take a name and a password; begin a session, as a cookie and as a token."""
    form = await request.post()
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    if not hmac.compare_digest(USERS.get(name, "").encode(), password.encode()) or name not in USERS:
        raise web.HTTPForbidden(text="no such name and password\n")
    token = secrets.token_urlsafe(32)
    request.app[SESSIONS][token] = name
    response = web.Response(text=token + "\n")
    # Strict: a page of somebody else cannot use the cookie. Add secure=True where there is TLS.
    response.set_cookie("session", token, httponly=True, samesite="Strict")
    return response


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only people through who are signed in, wherever they want to go."""
    # A preflight carries neither cookie nor token: refused, it would keep browsers from ever sending them.
    if request.path == "/login" or request.method == "OPTIONS":
        return await handler(request)
    token = request.cookies.get("session") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = request.app[SESSIONS].get(token)
    if user is None:
        # No await before this: nothing of the body was read, and a client that asked first did not send it.
        return web.Response(status=401, text="sign in first\n", headers={"WWW-Authenticate": "Bearer"})
    request[USER] = user
    return await handler(request)


@web.middleware
async def only_own_uploads(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Remember who made an upload; to everybody else it does not exist, whatever they want of it."""
    if request.method == "OPTIONS":
        return await handler(request)
    owners = request.config_dict[OWNERS]
    # "tail" is what follows the prefix that was given to tusd_py.setup: an upload, its result, or nothing.
    upload_id = request.match_info.get("tail", "").removesuffix("/").removesuffix("/result")
    if upload_id:
        query = "SELECT 1 FROM owners WHERE upload = ? AND user = ?"
        async with owners.execute(query, (upload_id, request[USER])) as found:
            if await found.fetchone() is None:
                return web.Response(status=404, text="no such upload\n")
    response = await handler(request)
    if response.status == 201:
        # Before the client knows the URL. After a crash in between, nobody does, and the upload expires.
        made = response.headers["Location"].rpartition("/")[2]
        await owners.execute("INSERT INTO owners (upload, user) VALUES (?, ?)", (made, request[USER]))
        await owners.commit()
    return response


async def open_owners(app: web.Application) -> AsyncIterator[None]:
    """Owners have to be as durable as the uploads are."""
    async with aiosqlite.connect("owners.sqlite3") as database:
        await database.execute("CREATE TABLE IF NOT EXISTS owners (upload TEXT PRIMARY KEY, user TEXT NOT NULL)")
        app[OWNERS] = database
        yield


def make_app() -> web.Application:
    """Return the application; its middleware covers everything, that of `private` covers the uploads."""
    app = web.Application(middlewares=[authenticate])
    app[SESSIONS] = {}
    app.cleanup_ctx.append(open_owners)
    app.router.add_post("/login", login)
    private = web.Application(middlewares=[only_own_uploads])
    # A final upload names its parts, and those would have to be checked too.
    tusd_py.setup(private, "/files", data_dir="data", disable_concatenation=True)
    app.add_subapp("/my", private)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
