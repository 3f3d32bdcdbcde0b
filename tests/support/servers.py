"""The same server thrice: in this process as a host application has it, and as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

import tusd_py
from tests.support.waiting import until

READY = "You can now upload files to: "
WAYS_OF_BODIES: dict[str, dict[str, Any]] = {
    "parsed": {"data_plane_from": "none", "direct_from": "none"},
    "moved": {"data_plane_from": 1},
    "direct": {"data_plane_from": "none", "direct_from": 1},
}
"""How bodies come in, wherever it can be done: through the parser, moved by the kernel, or read past the parser."""
WAYS = {
    "embedded": WAYS_OF_BODIES["parsed"],
    "moved": WAYS_OF_BODIES["moved"],
    "process": WAYS_OF_BODIES["direct"],
}
"""The ways in which servers run, each with one of them."""
MODES = tuple(WAYS)


@dataclass
class Target:
    """A running server."""

    url: str
    """Base URL, with a slash at the end."""
    data_dir: Path
    mode: str
    process: asyncio.subprocess.Process | None = None
    tus: tusd_py.Tus | None = None

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def data_path(self, upload_url: str) -> Path:
        """Return where the bytes of an upload are."""
        name = upload_url.rstrip("/").rsplit("/", 1)[1]
        return self.data_dir / "uploads" / name[:2] / name

    def stored(self, upload_url: str) -> int:
        """Return how many bytes of an upload have reached the disk, acknowledged or not."""
        path = self.data_path(upload_url)
        return path.stat().st_size if path.exists() else 0

    async def until_stored(self, upload_url: str, size: int) -> None:
        """Wait until so many bytes of an upload have reached the disk: the request that brings them is live."""

        async def is_there() -> bool:
            return self.stored(upload_url) >= size

        await until(is_there)


@contextlib.asynccontextmanager
async def serve(mode: str, data_dir: Path, **settings: Any) -> AsyncIterator[Target]:
    """Run a server with these settings until the block ends; it must end cleanly by itself."""
    start = process if mode == "process" else embedded
    async with start(data_dir, **{**WAYS[mode], **settings}) as target:
        target.mode = mode
        yield target


@contextlib.asynccontextmanager
async def embedded(data_dir: Path, **settings: Any) -> AsyncIterator[Target]:
    """Run uploads inside an aiohttp application of this process."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=data_dir, **settings)
    async with running(app) as url:
        yield Target(f"{url}/files/", data_dir, "embedded", tus=tus)


@contextlib.asynccontextmanager
async def running(app: web.Application, **options: Any) -> AsyncIterator[str]:
    """Run any application on a free port of 127.0.0.1; yield its URL without a slash at the end.

    `options` are those of the runner.
    """
    runner = web.AppRunner(app, **{"shutdown_timeout": 5, "max_field_size": 128 * 1024, **options})
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def process(data_dir: Path, **settings: Any) -> AsyncIterator[Target]:
    """Run `tusd-py serve` as a process; at the end it must leave by SIGTERM with code 0, unless it was killed."""
    child = await launch(data_dir, **settings)
    assert child.stdout is not None
    assert child.stderr is not None
    # Read all the time: a server whose log nobody reads stands still when the pipe is full.
    log = asyncio.create_task(child.stderr.read())
    try:
        line = (await asyncio.wait_for(child.stdout.readline(), 30)).decode()
        if not line.startswith(READY):
            raise AssertionError(f"the server did not start: {line!r} {(await log).decode(errors='replace')}")
        yield Target(line.removeprefix(READY).strip(), data_dir, "process", process=child)
    finally:
        killed = child.returncode is not None
        if not killed:
            child.send_signal(signal.SIGTERM)
        ended = await _ends(child)
        errors = (await log).decode(errors="replace")
        assert ended, "the server did not end: " + errors
        assert killed or child.returncode == 0, errors
        assert "Traceback" not in errors, errors


async def launch(data_dir: Path, **settings: Any) -> asyncio.subprocess.Process:
    """Start `tusd-py serve`, on a free port unless `settings` name one, and return at once."""
    flags = ["--data-dir", str(data_dir)]
    for name, value in {"port": 0, **settings}.items():
        flag = "--" + name.replace("_", "-")
        for item in value if isinstance(value, (list, tuple)) else [value]:
            flags += [flag] if item is True else [flag, str(item)]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "tusd_py",
        "serve",
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")},
    )


async def _ends(child: asyncio.subprocess.Process) -> bool:
    try:
        await asyncio.wait_for(child.wait(), 40)
    except TimeoutError:
        child.kill()
        await child.wait()
        return False
    return True
