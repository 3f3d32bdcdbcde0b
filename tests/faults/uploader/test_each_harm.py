"""Each harm alone, once: `tusd-py upload` brings the file there, once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest

from tests.faults.uploader.commands import Command, Ended, Server, serving
from tests.faults.uploader.oracle import Judgement, Sent, judge
from tests.faults.uploader.proxy import Answered, Harm, HarmfulProxy, Severed, Silent, Slowed, Swallowed
from tests.support.proxy import Cut
from tests.support.servers import embedded
from tests.support.waiting import until

MIB = 2**20
SIZE = 3 * MIB + 17
SMALL = 10_000
PARTS = ("--parallel", "3")
SUMS = ("--checksum", "--chunk-size", "1MiB")

CASES: list[tuple[str, Harm, tuple[str, ...]]] = [
    ("OPTIONS", Severed(how=Cut.FIN), ()),
    ("OPTIONS", Answered(503), ()),
    ("POST", Severed(how=Cut.FIN), ()),
    ("POST", Swallowed(Cut.FIN), ()),
    ("POST", Swallowed(Cut.RST), ()),
    ("POST", Answered(429, retry_after=1), ()),
    ("POST", Answered(502), ()),
    ("PATCH", Severed(0, Cut.RST), ()),
    ("PATCH", Severed(MIB + 1, Cut.FIN), ()),
    ("PATCH", Severed(MIB + 1, Cut.RST), ()),
    ("PATCH", Severed(SIZE, Cut.RST), ()),
    ("PATCH", Swallowed(Cut.FIN), ()),
    ("PATCH", Silent(MIB), ()),
    ("PATCH", Answered(423), ()),
    ("PATCH", Answered(429), ()),
    ("PATCH", Answered(503, retry_after=1, early=True), ()),
    ("PATCH", Answered(302), ()),
    ("PATCH", Slowed(seconds=0.1), ()),
    ("PATCH", Slowed(rate=8 * MIB), ()),
    ("PATCH", Slowed(rate=8 * MIB, piece=2000), ()),
    ("PATCH", Severed(1000, Cut.RST), SUMS),
    ("PATCH", Swallowed(Cut.RST), SUMS),
    ("PATCH", Severed(1000, Cut.FIN), PARTS),
    ("POST", Swallowed(Cut.RST), PARTS),
    ("POST final", Severed(how=Cut.RST), PARTS),
    ("POST final", Swallowed(Cut.FIN), PARTS),
    ("POST final", Swallowed(Cut.RST), PARTS),
    ("POST final", Answered(503), PARTS),
]


@dataclass
class Stage:
    """A file, a way to a server, and who judges what became of it."""

    place: Path
    file: Path
    proxy: HarmfulProxy
    judge: Callable[[Sent], Awaitable[Judgement]]

    def command(self, *flags: str, pipe: bool = False) -> Command:
        """Return the command that sends the file."""
        arguments = [*flags, "--network-timeout", "2s", "--metadata", f"filename={self.file.name}"]
        source = "-" if pipe else str(self.file)
        return Command([*arguments, source, self.proxy.url], self.place, piped=self.file if pipe else None)

    async def arrived(self, ended: Ended) -> None:
        """The file is there, once, with nothing beside it; all harms were met."""
        assert ended.fault == ""
        assert self.proxy.planned == 0
        judgement = await self.judge(Sent(self.file, {"filename": self.file.name}, ended.out.strip()))
        assert judgement == Judgement((), (), ())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What is sent."""
    path = tmp_path / "film.bin"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """A pipe that nobody reads, and that takes nothing any more."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, bytes(4096))
    os.set_blocking(writes, True)
    yield writes
    os.close(reads)
    os.close(writes)


@pytest.fixture
async def stage(tmp_path: Path, file: Path, session: aiohttp.ClientSession) -> AsyncIterator[Stage]:
    """A server of this process."""
    async with embedded(tmp_path / "data") as server, HarmfulProxy.open(server.url) as proxy:
        yield Stage(tmp_path, file, proxy, lambda sent: judge(session, server.url, server.data_dir, [sent]))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that can be killed."""
    async with serving(tmp_path / "mortal") as server:
        yield server


@pytest.fixture
async def mortal(tmp_path: Path, file: Path, server: Server, session: aiohttp.ClientSession) -> AsyncIterator[Stage]:
    """A stage with that server."""
    async with HarmfulProxy.open(server.url) as proxy:
        yield Stage(tmp_path, file, proxy, lambda sent: judge(session, server.url, server.data_dir, [sent]))


def _name(value: object) -> str:
    return "" if value == () else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("what", "harm", "flags"), CASES, ids=_name)
async def test_harm(stage: Stage, what: str, harm: Harm, flags: tuple[str, ...]) -> None:
    """The command endures it."""
    stage.proxy.plan(what, harm)
    ended = await stage.command(*flags).once()
    assert stage.proxy.harmed == {str(harm): 1}
    await stage.arrived(ended)


@pytest.mark.parametrize(
    "harm", [Severed(how=Cut.RST), Swallowed(Cut.FIN), Answered(423), Answered(302), Answered(429, 1)], ids=str
)
async def test_harmed_while_asking(stage: Stage, harm: Harm) -> None:
    """The question for the offset after a cut may fail as well: the upload goes on and does not begin anew."""
    stage.proxy.plan("PATCH", Severed(MIB, Cut.RST))
    stage.proxy.plan("HEAD", harm)
    await stage.arrived(await stage.command().once())
    assert stage.proxy.asked["POST"] == 1


@pytest.mark.parametrize(
    "harm",
    [Severed(500, Cut.RST), Severed(SMALL, Cut.FIN), Swallowed(Cut.RST), Answered(503), Answered(429, early=True)],
    ids=str,
)
async def test_small_file(stage: Stage, harm: Harm) -> None:
    """What goes with the creation, and is not known to have arrived, arrives once."""
    os.truncate(stage.file, SMALL)
    stage.proxy.plan("POST", harm)
    await stage.arrived(await stage.command().once())
    assert stage.proxy.harmed == {str(harm): 1}


@pytest.mark.parametrize(
    "harm", [Severed(MIB, Cut.RST), Severed(MIB, Cut.FIN), Swallowed(Cut.RST), Answered(503), Silent(MIB)], ids=str
)
async def test_pipe(stage: Stage, harm: Harm) -> None:
    """What comes from a pipe endures what a file does."""
    stage.proxy.plan("PATCH", harm)
    await stage.arrived(await stage.command(pipe=True).once())
    assert stage.proxy.harmed == {str(harm): 1}


@pytest.mark.parametrize(("flags", "narrow"), [((), 1), (PARTS, 3), (SUMS, 2)], ids=_name)
async def test_client_is_killed(stage: Stage, flags: tuple[str, ...], narrow: int) -> None:
    """The same command goes on where the killed one was."""
    stage.proxy.plan("PATCH", *[Slowed(rate=4 * MIB)] * narrow)
    await _until_killed(stage, stage.command(*flags, "--json"), lambda: stage.proxy.received > MIB * 3 // 2)
    before = stage.proxy.received
    again = await stage.command(*flags, "--json").once()
    events = [json.loads(line) for line in again.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert "resumed" in kinds
    assert "created" not in kinds
    assert stage.proxy.received - before < SIZE - MIB // 2
    finished = next(event for event in events if event["event"] == "finished")
    await stage.arrived(replace(again, out=finished["url"]))


async def test_client_is_killed_with_a_small_file(stage: Stage) -> None:
    """What was created with all its bytes by a client that never heard of it is found by the next one.

    That another client has sent another file meanwhile makes no difference.
    """
    os.truncate(stage.file, SMALL)
    stage.proxy.plan("POST", Swallowed(None))
    await _until_killed(stage, stage.command(), lambda: stage.proxy.harmed["answer kept"] == 1)
    another = replace(stage, file=stage.file.with_name("another.bin"))
    another.file.write_bytes(b"another")
    told = (await another.command().once()).out.strip()
    ended = await stage.command().once()
    assert ended.fault == ""
    judgement = await stage.judge(Sent(stage.file, {"filename": stage.file.name}, ended.out.strip()))
    assert (judgement.wrong, judgement.orphans) == ((), ())
    assert [each.name for each in judgement.duplicates] == [told.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("what", "flags"), [("POST", ()), ("PATCH", ()), ("POST", PARTS), ("POST final", PARTS)], ids=_name
)
async def test_client_is_killed_before_an_answer(stage: Stage, what: str, flags: tuple[str, ...]) -> None:
    """What the server did, and the killed client never heard of, is found by the next one and not done again."""
    stage.proxy.plan(what, Swallowed(None))
    await _until_killed(stage, stage.command(*flags), lambda: stage.proxy.harmed["answer kept"] == 1)
    received = stage.proxy.received
    await stage.arrived(await stage.command(*flags).once())
    if what != "POST":
        assert stage.proxy.received == received


@pytest.mark.parametrize("flags", [(), PARTS], ids=_name)
async def test_client_is_killed_while_it_tells(
    stage: Stage, full_pipe: int, flags: tuple[str, ...], not_run: Callable[[str, str], NoReturn]
) -> None:
    """A URL that nobody was told is told by the next client, which sends nothing again."""
    if not os.access("/proc/self/syscall", os.R_OK):
        not_run("kills of an uploader that tells", "needs /proc/*/syscall")
    command = stage.command(*flags)
    running = asyncio.create_task(command.once(full_pipe))
    await until(lambda: _is(stage.proxy.received >= SIZE and command.is_telling), timeout=30)
    command.kill()
    assert (await running).code == -signal.SIGKILL
    await stage.arrived(await stage.command(*flags).once())
    assert stage.proxy.received == SIZE


@pytest.mark.parametrize(("flags", "narrow"), [((), 1), (PARTS, 3), (SUMS, 2), (("pipe",), 1)], ids=_name)
async def test_server_is_killed(mortal: Stage, server: Server, flags: tuple[str, ...], narrow: int) -> None:
    """A client goes on with the next life of the server by itself."""
    mortal.proxy.plan("PATCH", *[Slowed(rate=4 * MIB)] * narrow)
    command = mortal.command(pipe=True) if flags == ("pipe",) else mortal.command(*flags)
    running = asyncio.create_task(command.once())
    await until(lambda: _is(mortal.proxy.received > MIB), timeout=30)
    await server.kill()
    await mortal.arrived(await running)
    assert len(command.runs) == 1


async def _until_killed(stage: Stage, command: Command, when: Callable[[], bool]) -> None:
    """Run a command, and kill it then; what it sent is with the server afterwards."""
    running = asyncio.create_task(command.once())
    await until(lambda: _is(when()), timeout=30)
    command.kill()
    assert (await running).code == -signal.SIGKILL


async def _is(condition: bool) -> bool:
    return condition
