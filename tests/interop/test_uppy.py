"""Uppy 6 in a real browser against our server: its dashboard, its buttons, its way to resume."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.interop.arrival import assert_arrived, location_of, until_committed
from tests.interop.browser import CHROMIUM, HERE, RETRY, UPLOAD, Desk, chromium, pages
from tests.interop.mounts import Member, Mount, mounted
from tests.interop.packages import installed
from tests.support.proxy import Cut, CuttingProxy
from tests.support.servers import running

pytest.importorskip("playwright.async_api", reason="NOT RUN: needs playwright")

CLIENT = "uppy"
MIB = 2**20
SITES = [
    ("embedded", "same"),
    ("embedded", "cross"),
    ("process", "cross"),
    ("cancelling", "same"),
    ("guest", "same"),
    ("guest", "cross"),
]
QUICK = [0, 50, 200, 500, 1000]
"""Retry delays in ms."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NOT RUN: needs chromium")


@dataclass
class Site:
    """A server, the way to it that can be cut, and where the page comes from."""

    server: Mount
    client: Member
    proxy: CuttingProxy
    origin: str

    def options(self, **more: Any) -> dict[str, Any]:
        """Return options for Uppy's tus plugin."""
        return {"endpoint": self.proxy.url, "headers": dict(self.server.headers), "retryDelays": QUICK, **more}


@pytest.fixture(scope="module")
def uppy() -> Path:
    """Return a directory that has Uppy installed."""
    return installed(HERE, "uppy")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Any]:
    """A browser for all tests."""
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=SITES, ids="-".join)
async def place(
    request: pytest.FixtureRequest, uppy: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Mount, str | None]]:
    """A server, and another origin for the page unless it comes from the server itself."""
    mode, origin = request.param
    async with contextlib.AsyncExitStack() as stack:
        other = None
        if origin == "cross":
            app = web.Application()
            pages(uppy)(app)
            other = await stack.enter_async_context(running(app))
        data = tmp_path_factory.mktemp("uppy") / "data"
        yield await stack.enter_async_context(mounted(mode, data, pages(uppy))), other


@pytest.fixture
async def site(place: tuple[Mount, str | None], session: aiohttp.ClientSession) -> AsyncIterator[Site]:
    """The server with a way to it that can be cut; a page of the same origin comes on that way, too."""
    server, other = place
    async with CuttingProxy.open(server.url) as proxy:
        own = "{0.scheme}://{0.netloc}".format(urlsplit(proxy.url))
        yield Site(server, Member(session, server), proxy, other or own)


@pytest.fixture
async def desk(browser: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    """A tab of a browser that was never here before; what its page complains about fails the test."""
    context = await browser.new_context(viewport={"width": 640, "height": 400})
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield Desk(page, tmp_path)
    finally:
        await context.close()
    assert [] == complaints


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        pytest.param({}, ["POST", "PATCH"], id="one request"),
        pytest.param({"chunkSize": MIB}, ["POST"] + ["PATCH"] * 4, id="chunks"),
        pytest.param({"parallelUploads": 4}, ["PATCH"] * 4 + ["POST"] * 5, id="4 at once"),
        pytest.param({"uploadDataDuringCreation": True}, ["POST"], id="with the creation"),
    ],
)
async def test_uploaded(site: Site, desk: Desk, file: Path, options: dict[str, Any], requests: list[str]) -> None:
    """A file chosen in the dashboard arrives with one click, with its name and in no more requests than that needs.
    (protocol 14, CORS)"""
    await desk.visit(site.origin, **site.options(**options))
    await desk.choose(file)
    result = await desk.press(UPLOAD)
    assert result["failed"] == []
    location = await assert_arrived(site.client, site.server, result["successful"][0], file)
    assert sorted(await desk.requests()) == sorted(requests)
    # Uppy calls it both name and filename.
    assert "filename ZmlsbS5iaW4=" in (await site.client.head(location)).headers["Upload-Metadata"].split(",")


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_cut(site: Site, desk: Desk, file: Path, how: Cut) -> None:
    """A network that is cut in the middle costs nothing but requests: Uppy asks for the offset and goes on there,
    without a click. (I1, I3, CORE-HEAD-01)"""
    site.proxy.cut_after(MIB, how)
    await desk.visit(site.origin, **site.options())
    await desk.choose(file)
    result = await desk.press(UPLOAD)
    assert result["failed"] == []
    assert site.proxy.cut == 1
    requests = await desk.requests()
    assert (requests[:3], requests.count("POST")) == (["POST", "PATCH", "HEAD"], 1)
    await assert_arrived(site.client, site.server, result["successful"][0], file)


async def test_reloaded_in_between(site: Site, desk: Desk, file: Path) -> None:
    """A page that was reloaded after the network was cut finds its upload again and sends the rest only, however often
    that happens. The browser repeats a cut PATCH by itself, which is refused and changes nothing. (I1, CORE-HEAD-01)"""
    await desk.visit(site.origin, **site.options(retryDelays=[]))
    await desk.choose(file)
    await desk.picture("1-start")
    site.proxy.cut_after(MIB)
    assert len((await desk.press(UPLOAD))["failed"]) == 1
    await desk.picture("2-cut")
    assert await desk.requests() == ["POST", "PATCH"]
    url = await desk.page.evaluate("Object.values(localStorage).map(each => JSON.parse(each).uploadUrl)[0]")
    location = location_of(site.client, url)
    await until_committed(site.client, location)
    first = await site.client.offset(location)
    await desk.reload()
    await desk.choose(file)
    site.proxy.cut_after(MIB)
    assert len((await desk.press(UPLOAD))["failed"]) == 1
    await desk.picture("3-resumed-and-cut")
    result = await desk.press(RETRY)
    await desk.picture("4-finished")
    assert result == {"successful": [url], "failed": []}
    assert await desk.requests() == ["HEAD", "PATCH", "HEAD", "PATCH"]
    assert 0 < first <= MIB
    await assert_arrived(site.client, site.server, url, file)


@pytest.mark.parametrize("place", [("process", "cross")], indirect=True, ids="-".join)
async def test_offline_for_a_while(site: Site, desk: Desk, file: Path) -> None:
    """A computer that goes offline in the middle goes on when it is online again, without a click. (I1, I3)"""
    await desk.visit(site.origin, **site.options())
    await desk.choose(file)
    await desk.slow_down(MIB)
    pressed = asyncio.create_task(desk.press(UPLOAD))
    await desk.until_progress(30)
    await desk.picture("1-uploading")
    await desk.page.context.set_offline(True)
    # The browser says that it is offline, but lets what is on its way go on.
    site.proxy.cut_after(1)
    await desk.page.wait_for_selector(".uppy-Informer :text('No internet connection')")
    await desk.picture("2-offline")
    await desk.page.context.set_offline(False)
    await desk.slow_down(MIB)
    await desk.until_progress(60)
    await desk.picture("3-resumed")
    result = await pressed
    await desk.picture("4-finished")
    assert result["failed"] == []
    requests = await desk.requests()
    assert (requests[:2], requests.count("POST"), "HEAD" in requests) == (["POST", "PATCH"], 1, True)
    assert site.proxy.cut == 1
    await assert_arrived(site.client, site.server, result["successful"][0], file)
