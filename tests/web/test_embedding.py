"""Uploads inside somebody else's application: they work wherever they are put, and the host does not notice."""

from __future__ import annotations

import gzip
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.support.client import CT, Client, T
from tests.support.servers import running
from tests.support.timed import name_of
from tests.support.wire import Wire
from tusd_py.web.setup import SERVICES

Session = aiohttp.ClientSession
CORS = {"Origin": "https://page.example"}


async def works(client: Client) -> str:
    """Go through the life of an upload; return the URL of one that is finished."""
    url = await client.create(10)
    assert (await client.patch(url, 0, b"hello")).offset == 5
    assert await client.offset(url) == 5
    assert (await client.patch(url + "/", 5, b"world")).offset == 10
    assert (await client.get(url)).body == b"helloworld"
    parts = [await client.upload(data, Upload_Concat="partial") for data in (b"abc", b"def")]
    final = (await client.post({"Upload-Concat": "final;" + " ".join(parts)})).headers["Location"]
    assert (await client.get(final)).body == b"abcdef"
    assert (await client.delete(final)).status == 204
    assert (await client.head(final)).status == 404
    return url


async def echo(request: web.Request) -> web.Response:
    """Answer with the body as the host's handlers see it."""
    return web.Response(body=await request.read(), headers={"X-Host": request.path})


@pytest.mark.parametrize("prefix", ["/files", "/files/", "files", "/a/b/c", "/"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_prefixes(session: Session, tmp_path: Path, prefix: str, slash: str) -> None:
    """A prefix may be written either way, and both ways the base URL takes uploads without a redirect
    (CRE-POST-05, CORE-OPT-06).
    """
    app = web.Application()
    tusd_py.setup(app, prefix, data_dir=tmp_path / "data")
    async with running(app) as url:
        path = "/" + prefix.strip("/")
        client = Client(session, url + path.rstrip("/") + (slash or ("/" if path == "/" else "")))
        done = await works(client)
        assert done.startswith(url + path.rstrip("/") + "/")
        assert (await client.send("OPTIONS")).headers["Tus-Version"] == "1.0.0"


async def test_two_mounts_share_a_service(session: Session, tmp_path: Path) -> None:
    """Mounts of one service have their own limits and prefixes over the same uploads."""
    app = web.Application()
    tus = tusd_py.setup(app, "/small", data_dir=tmp_path / "data", max_size="10")
    assert tusd_py.setup(app, "/large", tus=tus, max_size="20", disable_termination=True) is tus
    async with running(app) as url:
        small, large = Client(session, f"{url}/small/"), Client(session, f"{url}/large/")
        assert [(await client.send("OPTIONS")).headers["Tus-Max-Size"] for client in (small, large)] == ["10", "20"]
        assert (await small.post({"Upload-Length": "11"})).status == 413
        created = await large.create(20)
        assert created.startswith(large.base)
        assert await large.offset(created) == 0
        # The same upload, seen through the other mount.
        other = small.base + name_of(created)
        assert (await small.patch(other, 0, b"x" * 20)).status == 204
        assert (await large.delete(created)).status == 405
        assert (await small.delete(other)).status == 204
        assert (await large.head(created)).status == 404


async def test_two_mounts_with_their_own_data(session: Session, tmp_path: Path) -> None:
    """Services with different directories know nothing of each other's uploads."""
    app = web.Application()
    tusd_py.setup(app, "/one", data_dir=tmp_path / "one")
    tusd_py.setup(app, "/two", data_dir=tmp_path / "two", max_size="10")
    async with running(app) as url:
        one, two = Client(session, f"{url}/one/"), Client(session, f"{url}/two/")
        mine = await works(one)
        assert (await two.head(two.base + name_of(mine))).status == 404
        assert (await two.delete(two.base + name_of(mine))).status == 404
        assert (await one.get(mine)).status == 200
        assert await works(two)
        assert "Tus-Max-Size" not in (await one.send("OPTIONS")).headers


async def test_sub_application(session: Session, tmp_path: Path) -> None:
    """In a sub-application everything works below its prefix, and Location has it (FWD-12)."""
    app, sub = web.Application(), web.Application()
    tusd_py.setup(sub, "/files", data_dir=tmp_path / "data")
    app.add_subapp("/api/v1", sub)
    async with running(app) as url:
        done = await works(Client(session, f"{url}/api/v1/files/"))
        assert done.startswith(f"{url}/api/v1/files/")
        assert (await works(Client(session, f"{url}/api/v1/files"))).startswith(f"{url}/api/v1/files/")


async def test_application_and_sub_application_share_a_service(session: Session, tmp_path: Path) -> None:
    """A service starts once, however many applications have a mount of it."""
    app, sub = web.Application(), web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    tusd_py.setup(sub, "/files", tus=tus)
    app.add_subapp("/api", sub)
    async with running(app) as url:
        done = await works(Client(session, f"{url}/files/"))
        assert (await Client(session, f"{url}/api/files/").get(f"{url}/api/files/{name_of(done)}")).status == 200


@pytest.mark.parametrize("user", ["ann", "a%20b", "%C5%82", "a+b", "%2e%2e", "a%2Fb"])
async def test_prefix_with_variables(session: Session, tmp_path: Path, user: str) -> None:
    """Below a prefix with variables of the router, Location names what the request named (FWD-12)."""
    app = web.Application()
    tusd_py.setup(app, "/users/{user}/files", data_dir=tmp_path / "data")
    async with running(app) as url:
        base = f"{url}/users/{user}/files/"
        assert (await works(Client(session, base))).startswith(base)
        assert (await works(Client(session, base.rstrip("/")))).startswith(base)


class Host:
    """An application with routes, middlewares and habits of its own, and uploads below /files."""

    def __init__(self, data_dir: Path, **options: Any) -> None:
        self.seen: list[str] = []
        self.app = web.Application(middlewares=[self.watch, self.guard], **options)
        self.app.router.add_post("/echo", echo)
        tusd_py.setup(self.app, "/files", data_dir=data_dir)
        self.app.router.add_get("/{tail:.*}", echo)
        self.url = ""

    @web.middleware
    async def watch(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        """Note every request, and mark every answer."""
        self.seen.append(f"{request.method} {request.path}")
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            error.headers["X-Watched"] = "error"
            raise
        if not response.prepared:
            response.headers["X-Watched"] = "yes"
        return response

    @web.middleware
    async def guard(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        """Let nobody in who says that he is Eve."""
        if request.headers.get("Authorization") == "Eve":
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Basic"})
        response: web.StreamResponse = await handler(request)
        return response


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A running host application that takes bodies of 1000 bytes."""
    host = Host(tmp_path / "data", client_max_size=1000)
    async with running(host.app) as url:
        host.url = url
        yield host


def assert_untouched(headers: Any) -> None:
    """Nothing of tus or CORS is in an answer."""
    names = ("Tus-", "Access-Control-", "Upload-", "Vary", "X-Content-Type-Options")
    assert not [name for name in headers if name.startswith(names)]


async def test_catch_all_of_the_host(host: Host, session: Session) -> None:
    """A catch-all route of the host gets everything but our paths, also those that only begin like them."""
    await works(Client(session, f"{host.url}/files/"))
    client = Client(session, host.url)
    for path in ("/", "/files.txt", "/filesystem", "/other/files/x", "/fil"):
        answer = await client.get(host.url + path, CORS)
        assert (answer.status, answer.headers["X-Host"]) == (200, path)
        assert_untouched(answer.headers)
    for path in ("/files", "/files/"):
        answer = await client.get(host.url + path)
        assert (answer.status, answer.headers["Allow"]) == (405, "OPTIONS, POST")
    assert (await client.get(f"{host.url}/files/unknown")).code == "ERR_UPLOAD_NOT_FOUND"


async def test_not_found_and_not_allowed_are_the_host_s(host: Host, session: Session) -> None:
    """The host's own 404 and 405 are as aiohttp makes them."""
    client = Client(session, host.url)
    for method, path, status in [("POST", "/nowhere", 405), ("DELETE", "/echo", 405), ("PUT", "/echo", 405)]:
        answer = await client.send(method, host.url + path, CORS)
        assert (answer.status, answer.headers["X-Watched"]) == (status, "error")
        assert_untouched(answer.headers)
        assert answer.body.startswith(b"405: Method Not Allowed")
    app = web.Application()
    app.router.add_get("/here", echo)
    async with running(app) as bare:
        expected = await client.send("GET", f"{bare}/nowhere")
    assert expected.status == 404


async def test_404_without_catch_all(session: Session, tmp_path: Path) -> None:
    """Without a catch-all route the host's 404 is exactly that of an application without uploads."""
    plain, with_uploads = web.Application(), web.Application()
    tusd_py.setup(with_uploads, "/files", data_dir=tmp_path / "data")
    answers = []
    for app in (plain, with_uploads):
        async with running(app) as url:
            answers.append(await Client(session, url).send("GET", f"{url}/nowhere", CORS))
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].body == answers[1].body
    assert list(answers[0].headers) == list(answers[1].headers)


async def test_middlewares_of_the_host_run(host: Host, session: Session) -> None:
    """The host's middlewares see our requests like any other, and may refuse and mark them."""
    client = Client(session, f"{host.url}/files/")
    created = await client.post({"Upload-Length": "5"})
    assert created.headers["X-Watched"] == "yes"
    url = created.headers["Location"]
    refused = await client.patch(url, 0, b"hello", {"Authorization": "Eve"})
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Basic")
    assert await client.offset(url) == 0
    assert (await client.get(url)).headers["X-Watched"] == "yes"
    path = url.removeprefix(host.url)
    assert host.seen == ["POST /files/", f"PATCH {path}", f"HEAD {path}", f"GET {path}"]


async def test_cors_is_ours_only(host: Host, session: Session) -> None:
    """CORS headers are on our answers and on none of the host's; a preflight of the host's stays the host's."""
    client = Client(session, f"{host.url}/files/")
    assert (await client.post({"Upload-Length": "5", **CORS})).headers["Access-Control-Allow-Origin"] == CORS["Origin"]
    answer = await client.send("POST", f"{host.url}/echo", CORS, b"body")
    assert (answer.status, answer.body) == (200, b"body")
    assert_untouched(answer.headers)
    preflight = await client.send("OPTIONS", f"{host.url}/echo", {**CORS, "Access-Control-Request-Method": "POST"})
    assert preflight.status == 405
    assert_untouched(preflight.headers)


async def test_compressed_bodies(host: Host, session: Session) -> None:
    """The host's routes still get their bodies unpacked; ours never unpack (CORE-BODY-14)."""
    packed = gzip.compress(b"hello" * 100)
    client = Client(session, f"{host.url}/files/")
    answer = await client.send("POST", f"{host.url}/echo", {"Content-Encoding": "gzip"}, packed)
    assert answer.body == b"hello" * 100
    url = await client.create(len(packed))
    refused = await client.patch(url, 0, packed, {"Content-Encoding": "gzip"})
    assert (refused.status, await client.offset(url)) == (415, 0)
    assert (await client.patch(url, 0, packed)).status == 204
    assert (await client.get(url)).body == packed


async def test_largest_body_of_the_host(host: Host, session: Session) -> None:
    """The host's client_max_size binds the host's routes only, in both directions."""
    client = Client(session, f"{host.url}/files/")
    assert (await client.send("POST", f"{host.url}/echo", {}, b"x" * 2000)).status == 413
    data = b"x" * 300_000
    assert (await client.get(await client.upload(data))).body == data
    assert (await client.post({"Upload-Length": "2000", **CT}, b"x" * 2000)).offset == 2000


async def test_expectations_of_the_host(host: Host) -> None:
    """On the host's routes `Expect: 100-continue` is answered by aiohttp as ever; on ours after our checks
    (CORE-BODY-10).
    """
    async with await Wire.open(host.url) as wire:
        wire.start("POST", "/echo", {"Expect": "100-continue", "Content-Length": "4"})
        assert (await wire.answer()).status == 100
        wire.send(b"body")
        assert (await wire.answer()).body == b"body"
    async with await Wire.open(host.url) as wire:
        headers = {**T, **CT, "Upload-Offset": "0", "Expect": "100-continue", "Content-Length": "4"}
        wire.start("PATCH", "/files/" + "0" * 32, headers)
        assert (await wire.answer()).status == 404


async def test_nothing_of_the_host_changes(tmp_path: Path) -> None:
    """Setting up adds routes and a lifespan; no middleware, no response signal, no logger, no handler."""
    app = web.Application()
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("aiohttp").level, logging.getLogger().manager.disable)
    tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    assert list(app.middlewares) == []
    assert list(app.on_response_prepare) == []
    assert len(app.router.routes()) == 2
    assert list(app) == [SERVICES]
    async with running(app):
        pass
    after = (list(root.handlers), root.level, logging.getLogger("aiohttp").level, logging.getLogger().manager.disable)
    assert after == before
    assert logging.getLogger("tusd_py").handlers == []


async def test_nothing_is_opened_before_the_start(tmp_path: Path) -> None:
    """Setting up touches no disk; that is for the start of the application (I16)."""
    tusd_py.setup(web.Application(), "/files", data_dir=tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("overrides", [{"max_sise": "10"}, {"max_size": "ten"}, {"durability": "maybe"}])
def test_wrong_settings(tmp_path: Path, overrides: dict[str, Any]) -> None:
    """An unknown setting, or one with a bad value, is refused by name at once (I16)."""
    with pytest.raises(tusd_py.StartupError, match=next(iter(overrides))):
        tusd_py.setup(web.Application(), "/files", data_dir=tmp_path / "data", **overrides)


async def test_directory_in_use(session: Session, tmp_path: Path) -> None:
    """A second application over the same directory does not start, and the first does not notice (I16)."""
    first, second = web.Application(), web.Application()
    for app in (first, second):
        tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    async with running(first) as url:
        with pytest.raises(tusd_py.StartupError, match="another server uses this data directory"):
            async with running(second):
                raise AssertionError("it started")
        await works(Client(session, f"{url}/files/"))
