"""Our own server process: one application, one listening socket, signals, a clean end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tusd_py.assembly import build
from tusd_py.embed import setup
from tusd_py.errors import StartupError
from tusd_py.settings import Settings
from tusd_py.web.access import AccessLogger
from tusd_py.web.stream import read_little_at_first

log = logging.getLogger(__name__)

MAX_HEADER_FIELD = 128 * 1024
"""Longest header field taken, in bytes: metadata and lists of partial uploads are long (CRE-META-10, CAT-17)."""
READ_BUFFER = 32 * 1024
"""Bytes of a body that wait for their handler; aiohttp stops the socket at twice this."""
MAX_REQUEST_LINE = 8190
"""Longest request line taken, in bytes."""
COMPLAINT_INTERVAL = 60.0
"""Seconds between two records of connections that cannot be taken."""
_NO_DESCRIPTOR = "socket.accept() out of system resource"


async def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly: running uploads keep what arrived and get 503.

    `ready` is called with the URL for uploads once the server listens. A second signal ends the process at once.
    Raises `StartupError`.
    """
    read_little_at_first()
    _allow_descriptors()
    _complain_seldom()
    app = web.Application()
    tus = build(settings, shielded=False)
    setup(app, settings.base_path, tus=tus)
    runner = web.AppRunner(
        app,
        handle_signals=False,
        shutdown_timeout=settings.shutdown_timeout,
        access_log_class=AccessLogger,
        # aiohttp's defaults are for pages, not for uploads (reliability 0 and 5.1).
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        keepalive_timeout=settings.keep_alive_timeout,
        handler_cancellation=False,
        max_field_size=MAX_HEADER_FIELD,
        max_line_size=MAX_REQUEST_LINE,
    )
    ended = _end_on_signal()
    if not await _unless(ended, runner.setup()):
        return
    try:
        url = await _listen(runner, settings)
        log.info(
            "serving %s (durability %s)",
            url,
            settings.durability,
            extra={"action": "started", "durability": str(settings.durability)},
        )
        _spare_the_collector()
        ready(url)
        await ended.wait()
        log.info("shutting down", extra={"action": "stopping"})
    finally:
        await runner.cleanup()


def _allow_descriptors() -> None:
    """Take as many file descriptors as the system grants: an upload needs three, and the usual soft limit is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _spare_the_collector() -> None:
    """Let the garbage collector never again look at what the start made: it lives as long as the process."""
    gc.collect()
    gc.freeze()


def _complain_seldom() -> None:
    """Log once in a while that there is no descriptor left; asyncio tells of every attempt, a hundred times a second.

    The record needs no descriptor itself, unlike one with the traceback of the attempt.
    """
    silent_until = float("-inf")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal silent_until
        if context.get("message") != _NO_DESCRIPTOR:
            loop.default_exception_handler(context)
        elif loop.time() >= silent_until:
            silent_until = loop.time() + COMPLAINT_INTERVAL
            log.error("no file descriptor is left for new connections: they wait", extra={"action": "accept_failed"})

    asyncio.get_running_loop().set_exception_handler(handle)


async def _unless(ended: asyncio.Event, starting: Awaitable[None]) -> bool:
    """Start, and return True; give it up and return False when the signal to end comes first."""
    signalled = asyncio.ensure_future(ended.wait())
    started = asyncio.ensure_future(starting)
    await asyncio.wait((started, signalled), return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not started.done():
        # What was going on, removals of an earlier life perhaps, is gone on with by the next start.
        started.cancel()
        await asyncio.wait((started,))
    if started.cancelled():
        return False
    started.result()
    return True


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    """Open the socket; return the URL under which uploads go."""
    try:
        if settings.unix_socket is not None:
            await web.UnixSite(runner, settings.unix_socket).start()
            return f"http://unix:{settings.unix_socket}:{settings.base_path}"
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        raise StartupError(f"cannot listen: {error.strerror or error}") from error
    host, port = runner.addresses[0][:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{settings.base_path}"


def _end_on_signal() -> asyncio.Event:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        if ended.is_set():
            # Everything acknowledged is committed; the rest is what a kill would lose too.
            os._exit(128 + number)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    return ended
