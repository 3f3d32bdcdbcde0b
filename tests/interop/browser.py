"""A page with Uppy in a headless Chromium."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from tests.interop.mounts import PAGES

HERE = Path(__file__).parent / "uppy"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever else it would like to talk to does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
UPLOAD = ".uppy-StatusBar-actionBtn--upload"
RETRY = ".uppy-StatusBar-actionBtn--retry"


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """Run a browser until the block ends."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


def pages(place: Path) -> Callable[[web.Application], None]:
    """Return what adds our page to an application, with the Uppy that was installed in `place`."""
    files = {name: HERE / name for name in ("page.html", "page.mjs")}
    files |= {name: place / "node_modules/uppy/dist" / name for name in ("uppy.min.mjs", "uppy.min.css")}

    async def page(request: web.Request) -> web.StreamResponse:
        # Not every machine knows the type of an .mjs file.
        name = request.match_info["name"]
        extra = {"Content-Type": "text/javascript"} if name.endswith(".mjs") else None
        return web.FileResponse(files[name], headers=extra)

    def add(app: web.Application) -> None:
        app.router.add_get(PAGES + "{name:" + "|".join(files) + "}", page)

    return add


@dataclass
class Desk:
    """One tab with our page in it, and the one who sits before it."""

    page: Any
    pictures: Path

    async def visit(self, origin: str, **options: Any) -> None:
        """Open the page at that origin; `options` are those of Uppy's tus plugin."""
        await self.page.goto(f"{origin}{PAGES}page.html#{quote(json.dumps(options))}")
        await self.page.wait_for_function("window.uppy")

    async def reload(self) -> None:
        """Open the same page again: what it had in memory is gone."""
        await self.page.reload()
        await self.page.wait_for_function("window.uppy")

    async def choose(self, path: Path) -> None:
        """Choose a file with the dashboard's file input."""
        await self.page.set_input_files("input.uppy-Dashboard-input >> nth=0", path)
        await self.page.wait_for_selector(UPLOAD)

    async def press(self, button: str) -> dict[str, Any]:
        """Press a button that starts uploading and return how that ended."""
        before = await self.page.evaluate("seen.results.length")
        await self.page.click(button)
        await self.page.wait_for_function(f"seen.results.length > {before}")
        result: dict[str, Any] = await self.page.evaluate("seen.results.at(-1)")
        return result

    async def slow_down(self, rate: int) -> None:
        """Let no more bytes per second out of the browser."""
        network = await self.page.context.new_cdp_session(self.page)
        await network.send("Network.enable")
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate}
        await network.send("Network.emulateNetworkConditions", limits)

    async def until_progress(self, percent: int) -> None:
        """Wait until Uppy says that so much was sent."""
        await self.page.wait_for_function(f"uppy.getState().totalProgress >= {percent}")

    async def requests(self) -> list[str]:
        """Return the methods of all requests since the page was opened."""
        methods: list[str] = await self.page.evaluate("seen.requests")
        return methods

    async def picture(self, name: str) -> None:
        """Take a picture of the page."""
        await self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")
