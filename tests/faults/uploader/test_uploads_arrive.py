"""T13: `tusd-py upload` brings files through a network that harms requests, while both ends are killed."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.faults.figures import Figures
from tests.faults.uploader.commands import Command, Server, serving
from tests.faults.uploader.oracle import Judgement, Sent, judge
from tests.faults.uploader.proxy import HarmfulProxy
from tests.faults.uploader.weather import Weather
from tests.support.waiting import until

MIB = 2**20
AT_ONCE = 5
PATIENCE = 2.0
"""Seconds of silence that a client endures."""
PATIENCE_IN_ALL = 60.0
"""Seconds for each file, after which something stands still."""
SIZES = {"quick": 2 * MIB, "ci": 4 * MIB, "soak": 20 * MIB}
BETWEEN_KILLS = {"quick": 0.7, "ci": 0.5, "soak": 2.0}
"""Seconds, on average: longer where little of a file was sent meanwhile."""
OF_SERVERS = 0.25
"""Share of the kills."""
PIPED, SMALL = "piped", "small"
WAYS: dict[str, tuple[str, ...]] = {
    "parallel": ("--parallel", "3"),
    "whole": (),
    PIPED: (),
    "checksum": ("--checksum",),
    "chunks, verified": ("--chunk-size", "1MiB", "--verify"),
    SMALL: (),
    "parallel, checksum, chunks": ("--parallel", "2", "--checksum", "--chunk-size", "1MiB"),
}
"""How files are sent, in turn."""


@dataclass(frozen=True)
class Scale:
    """How much is done, in all runs together."""

    uploads: int
    size: int
    between_kills: float


@dataclass
class Run:
    """Some files on their way."""

    place: Path
    scale: Scale
    chance: random.Random
    server: Server
    proxy: HarmfulProxy
    commands: dict[Path, Command] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    one_at_work: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while there is no server."""

    async def send(self, count: int) -> None:
        """Send so many files, some at a time, and kill meanwhile; return when all have arrived, or failed."""
        room = asyncio.Semaphore(AT_ONCE)
        try:
            # Without a server clients wait for a day: whoever could not start it again ends the test.
            async with asyncio.timeout(PATIENCE_IN_ALL * count), asyncio.TaskGroup() as group:
                killing = group.create_task(self._kill())
                await asyncio.gather(*(self._send(number, room) for number in range(count)))
                async with self.one_at_work:
                    killing.cancel()
        finally:
            self.tell()

    async def _send(self, number: int, room: asyncio.Semaphore) -> None:
        async with room:
            way = list(WAYS)[number % len(WAYS)]
            path = self.place / f"film-{number}.bin"
            size = 40_000 if way == SMALL else self.scale.size
            path.write_bytes(random.Random(str(path)).randbytes(size + number))
            metadata = {"number": str(number), "filename": path.name}
            told = [f"--metadata={name}={text}" for name, text in metadata.items()]
            source = "-" if way == PIPED else str(path)
            command = Command(
                [*WAYS[way], *told, "--network-timeout", f"{PATIENCE}s", source, self.proxy.url],
                self.place / "state",
                piped=path if way == PIPED else None,
            )
            self.commands[path] = command
            ended = await command.until_it_ends()
            if ended.fault:
                self.failed.append(f"{path.name}, {way}: {ended.fault}")
            else:
                self.sent.append(Sent(path, metadata, ended.out.strip()))

    def tell(self) -> Path:
        """Write down what the clients said; return where."""
        lines = [f"{path.name}: {each}\n" for path, command in self.commands.items() for each in command.runs]
        (self.place / "clients.txt").write_text("".join(lines))
        return self.place / "clients.txt"

    async def _kill(self) -> None:
        """Kill a client or the server, again and again, and yet let files arrive on a machine that is busy."""
        while True:
            enough = self.proxy.received + self.scale.size // 8
            await asyncio.sleep(self.chance.uniform(0.5, 1.5) * self.scale.between_kills)
            await until(partial(self._has_received, enough), timeout=600)
            mortal = [each for each in self.commands.values() if each.may_die]
            if self.chance.random() < OF_SERVERS:
                async with self.one_at_work:
                    await self.server.kill()
            elif mortal:
                self.chance.choice(mortal).kill()

    async def _has_received(self, enough: int) -> bool:
        return self.proxy.received >= enough


@pytest.fixture
def scale(pytestconfig: pytest.Config, volume_of: Callable[[str], int]) -> Scale:
    """Short files and many kills, unless there is time."""
    level = pytestconfig.getoption("volume")
    return Scale(volume_of("T13"), SIZES[level], BETWEEN_KILLS[level])


@pytest.mark.timeout(0)
async def test_uploads_arrive(
    tmp_path: Path, scale: Scale, seeds: list[int], session: aiohttp.ClientSession, figures: Figures
) -> None:
    """Every file arrives, once and whole, under the URL that was told, and what is left over has an end (T13)."""
    for part, seed in enumerate(seeds):
        place = tmp_path / str(seed)
        place.mkdir()
        chance, weather = random.Random(f"{seed}/kills"), Weather(random.Random(f"{seed}/weather"), PATIENCE)
        async with serving(place / "data") as server, HarmfulProxy.open(server.url, weather) as proxy:
            run = Run(place, scale, chance, server, proxy)
            begun = time.monotonic()
            await run.send((scale.uploads + part) // len(seeds))
            figures.sample("uploads_s", time.monotonic() - begun)
            judgement = await judge(session, server.url, server.data_dir, run.sent)
        _count(figures, run, judgement)
        again = f"again: --fault-seed {seed}; what the clients said is in {run.tell()}"
        assert run.failed == [], again
        assert (judgement.wrong, judgement.duplicates) == ((), ()), again
        shutil.rmtree(place)


def _count(figures: Figures, run: Run, judgement: Judgement) -> None:
    needed = sum(path.stat().st_size for path in run.commands)
    figures.add("kills", run.server.kills, of="uploads")
    figures.add("uploader_kills", sum(each.kills for each in run.commands.values()))
    figures.add("uploads_asked", len(run.commands))
    figures.add("uploads_arrived", len(run.sent))
    figures.add("uploads_finished_twice", len(judgement.duplicates))
    figures.add("uploads_left_over", len(judgement.orphans))
    figures.add("uploads_mib_sent", run.proxy.received // MIB)
    figures.add("uploads_mib_needed", needed // MIB)
    for kind, times in run.proxy.harmed.items():
        figures.add("uploader_faults", times, of=kind)
