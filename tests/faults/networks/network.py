"""A server at the other end of a bad network, clients that write everything down, and a verdict."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import mmap
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.faults.actors import Actor
from tests.faults.check import summary
from tests.faults.figures import Figures
from tests.faults.lives import LAG, Life, Lives, lag_quantile, read_jobs
from tests.faults.networks.procfs import connections, descriptors, resident_kib
from tests.faults.oracle.checker import check_jobs
from tests.faults.oracle.history import History
from tests.faults.oracle.payload import payload
from tests.support.servers import Target
from tests.support.waiting import until
from tests.support.wire import Wire

TRIES = 8
"""So often an upload is taken up again."""
PATIENCE: dict[str, Any] = {"network_timeout": 1.0, "keep_alive_timeout": 1.0, "lock_timeout": 2.0}
"""Settings of the servers: what takes a minute outside takes a second here."""
# Option of TCP: a socket in repair mode is closed without a word to the peer.
TCP_REPAIR = 19


class Scene:
    """What happens to one server in one test."""

    def __init__(self, name: str, them: Lives, life: Life, log: History) -> None:
        self.name = name
        self.them = them
        self.life = life
        self.log = log
        self.target = Target(life.url, life.data_dir, "process")
        self.writers = itertools.count(1)
        self.actor = Actor(life.url, log, writers=self.writers)
        self.remember()

    def remember(self) -> None:
        """Take what the server has open and in memory now for what it needs when nobody asks for anything."""
        self.quiet = descriptors(self.life.pid) - connections(self.life.pid, self.target.port)
        self.memory = resident_kib(self.life.pid)

    def client(self, url: str) -> Actor:
        """Return a client that has another way to the server, and other URLs."""
        return Actor(url, self.log, writers=self.writers)

    async def begin(self, key: str, size: int, sent: int) -> Wire:
        """Send a part of a body and wait until it is stored; the outcome stays unknown."""
        url, writer = self.actor.urls[key], next(self.writers)
        self.log.begin("patch", key, writer=writer, at=0, size=size, sent=sent)
        wire = await Wire.open(url)
        wire.start_patch(url, 0, {"Content-Length": str(size)})
        wire.send(payload(key, writer, 0, sent))
        await self.target.until_stored(url, sent)
        return wire

    async def finish(self, actor: Actor, key: str, length: int) -> None:
        """Take an upload up again until it is whole, then download it."""
        for _ in range(TRIES):
            seen = await actor.head(key)
            if seen.offset == length:
                break
            if seen.offset is not None:
                await actor.patch(key, seen.offset, length - seen.offset)
        assert (await actor.get(key)).status == 200
        self.actor.bodies[key] = actor.bodies[key]

    async def until_quiet(self, timeout: float = 15) -> None:
        """Wait until the server has closed everything that this scene made it open."""

        async def is_quiet() -> bool:
            return descriptors(self.life.pid) <= self.quiet

        await until(is_quiet, timeout=timeout)

    def weigh(self, requests: int, figures: Figures) -> None:
        """Look at the memory that open requests cost (I19)."""
        each = (resident_kib(self.life.pid) - self.memory) / requests
        figures.sample("rss_per_request_kib", each, of=self.name)
        assert each <= 300, f"{each:.0f} KiB for each of {requests} requests"

    async def judge(self, figures: Figures) -> None:
        """Check everything that was seen, and that every finished upload had its job once (I14)."""
        report = summary(self.log.events(), self.actor.bodies)
        ids = {url.rpartition("/")[2] for key, url in self.actor.urls.items() if key in self.actor.bodies}

        async def are_done() -> bool:
            return ids <= {job.upload for job in read_jobs(self.them.jobs)}

        with contextlib.suppress(TimeoutError):
            await until(are_done)
        jobs = [job for job in read_jobs(self.them.jobs) if job.upload in ids]
        figures.merge(report.figures)
        late = lag_quantile(self.them.lag)
        figures.sample("loop_lag_p99_ms", late, of=self.name)
        assert report.violations + check_jobs(ids, jobs) == []
        assert len(jobs) == len(ids), sorted(jobs)
        assert report.figures.total("unhandled_500s") == 0, report.statuses
        assert "Traceback" not in self.life.stderr.read_text()
        # Nine of ten, because this machine has other work as well (I11); what is published is the 99th of a hundred.
        assert lag_quantile(self.them.lag, 0.9) < 100


@contextlib.asynccontextmanager
async def scene(name: str, them: Lives, life: Life, place: Path, figures: Figures) -> AsyncIterator[Scene]:
    """Let a test play with a server that has served before; judge in the end."""
    log = History(place / "history.jsonl")
    try:
        await _warm(life)
        _forget(them.lag)
        played = Scene(name, them, life, log)
        yield played
        await played.until_quiet()
        await played.judge(figures)
    finally:
        log.close()


async def _warm(life: Life) -> None:
    """Make the server open and import what it keeps."""
    async with contextlib.AsyncExitStack() as stack:
        log = History(life.data_dir / "warm.jsonl")
        stack.callback(log.close)
        actor = Actor(life.url, log, writers=itertools.count(1))
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(_once(actor, f"warm-{number}"))


async def _once(actor: Actor, key: str) -> None:
    await actor.create(key, 200_000)
    await actor.patch(key, 0, 200_000)
    await actor.get(key)
    await actor.delete(key)


def _forget(lag: Path) -> None:
    with lag.open("r+b") as file, mmap.mmap(file.fileno(), LAG.size) as counts:
        counts[:] = bytes(LAG.size)


def vanish(wire: Wire) -> None:
    """Let a client disappear without FIN or RST, as a machine does that loses power; needs root."""
    sock: socket.socket = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    wire.writer.transport.abort()
