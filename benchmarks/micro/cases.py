"""Of what the costs are counted: requests to a server on one connection, trips to a thread, and pure functions."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from multidict import CIMultiDict

from benchmarks.client import Request, Script
from benchmarks.micro.counting import counting
from benchmarks.own import Own, created, serving
from benchmarks.subjects import LEVELS
from benchmarks.tus import Source
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol import rules
from tusd_py.protocol.intents import Append
from tusd_py.protocol.messages import RequestHead
from tusd_py.protocol.metadata import check_metadata
from tusd_py.protocol.tus1 import Tus1
from tusd_py.stores.threads import DiskThreads

KIB, MIB = 2**10, 2**20
ID = "0123456789abcdef0123456789abcdef"
METADATA = "filename aG9saWRheS5tb3Y=,filetype dmlkZW8vcXVpY2t0aW1l"
KINDS = {"HEAD": False, "OPTIONS": False, "creation": True, "creation 10 KiB": True, "PATCH 1 KiB": True,
         "PATCH 1 MiB": True}  # fmt: skip
"""Requests, and whether they depend on the durability."""


@dataclass(frozen=True)
class Sizes:
    """How often."""

    requests: int = 2_000
    large: int = 100
    """Of 1 MiB."""
    calls: int = 20_000
    """Of a function."""


def server_cases(place: Path, source: Source, sizes: Sizes, what: str) -> Iterator[tuple[str, float]]:
    """Count once what each kind of request costs a server, for one request."""
    for level in LEVELS:
        with serving(place / level, source, "--durability", level) as own:
            scripts = _Scripts(own, source)
            # What comes with the first requests is no cost of a request.
            for kind in KINDS:
                own.drive(scripts.of(kind, 2))
            for kind, writes in KINDS.items():
                if writes or level == LEVELS[0]:
                    count = sizes.large if kind.endswith("MiB") else sizes.requests
                    script = scripts.of(kind, count)
                    with counting(own.pid, what) as figure:
                        own.drive(script)
                    yield f"{kind}, {level}" if writes else kind, figure[0] / count


def function_cases(sizes: Sizes, what: str) -> Iterator[tuple[str, float]]:
    """Count once what each function costs, for one call."""
    for name, call in _functions().items():
        call()
        with counting(os.getpid(), what) as figure:
            for _ in range(sizes.calls):
                call()
        yield name, figure[0] / sizes.calls


def trip_case(sizes: Sizes, what: str) -> Iterator[tuple[str, float]]:
    """Count once what it costs to have a thread do nothing, from the event loop and back."""
    yield "trip to a disk thread", asyncio.run(_trips(sizes.requests, what))


async def _trips(count: int, what: str) -> float:
    threads = DiskThreads(1, name="trip")
    await threads.run(int)
    with counting(os.getpid(), what) as figure:
        for _ in range(count):
            await threads.run(int)
    threads.shutdown()
    return figure[0] / count


class _Scripts:
    def __init__(self, own: Own, source: Source) -> None:
        self._own, self._source = own, source
        self._speaker = own.speaker

    def of(self, kind: str, count: int) -> Script:
        """Return a script of so many requests; what they need is made at once."""
        speaker = self._speaker
        if kind == "HEAD":
            [path] = created(self._own, 1, MIB)
            return speaker.heads(iter(range(count)), path)
        if kind == "OPTIONS":
            return self._options(count)
        if kind == "creation":
            return speaker.create(iter(range(count)), MIB, [], f"Upload-Metadata: {METADATA}")
        if kind == "creation 10 KiB":
            return speaker.files(iter(range(count)), 10 * KIB, [])
        size = MIB if kind.endswith("MiB") else KIB
        # One byte more than is sent: finishing an upload is another thing.
        [path] = created(self._own, 1, count * size + 1)
        return speaker.fill(path, count * size, size)

    def _options(self, count: int) -> Script:
        asked = f"OPTIONS {self._speaker.path} HTTP/1.1\r\nHost: {self._speaker.address[0]}\r\n\r\n".encode()
        for _ in range(count):
            yield Request(asked, (200, 204))


def _functions() -> dict[str, Callable[[], object]]:
    limits = Limits()
    dialect = Tus1(limits)
    headers = CIMultiDict({
        "Host": "localhost:8080", "Tus-Resumable": "1.0.0", "Content-Length": "1024", "Upload-Offset": "1024",
        "Content-Type": "application/offset+octet-stream",
    })  # fmt: skip
    head = RequestHead(method="PATCH", upload_id=ID, headers=headers, has_body=True, body_length=KIB)
    upload = UploadInfo(id=ID, offset=KIB, length=MIB)
    intent = Append(upload_id=ID, offset=KIB, has_body=True, body_length=KIB)
    return {
        "Tus1.read of a PATCH": lambda: dialect.read(head),
        "check_metadata": lambda: check_metadata(METADATA, strict=False, max_size=limits.max_metadata_size),
        "rules.plan_append": lambda: rules.plan_append(upload, intent, limits),
    }


@contextlib.contextmanager
def turn(place: Path, number: int) -> Iterator[Path]:
    """Have a directory for one round; what it holds is given back, but not removed (see `benchmarks.subjects`)."""
    made = place / str(number)
    made.mkdir()
    try:
        yield made
    finally:
        for path in made.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)
