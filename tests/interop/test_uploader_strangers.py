"""The uploader and servers of other people: @tus/server for Node, tuspyserver for FastAPI, tusd in Go.

tusd is taken from PATH, or from where the environment variable TUSD says; the others are installed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from conformance import peers
from conformance.peers import NotRun, Peer
from tests.faults.uploader.commands import Command
from tests.faults.uploader.proxy import Answered, Harm, HarmfulProxy, Severed, Slowed, Swallowed
from tests.interop.arrival import sha256
from tests.interop.packages import environment, installed
from tests.support.client import Client
from tests.support.proxy import Cut
from tests.support.waiting import until
from tusd_py.client import Client as Uploads
from tusd_py.client import Options

# Installing them may take a while.
pytestmark = pytest.mark.timeout(300)

HERE = Path(__file__).parent / "strangers"
MIB = 2**20
PARTS = ("--parallel", "3")
CHUNKS = ("--chunk-size", "1MiB")

STRANGERS: dict[str, Callable[[Path], Peer]] = {
    "@tus/server": lambda _: peers.node(installed(HERE, "@tus/server")),
    "tuspyserver": lambda _: peers.tuspyserver(environment(HERE / "requirements.txt")),
    "tusd": lambda place: peers.tusd(place, os.environ.get("TUSD", "tusd")),
}
JOINING = ("tuspyserver", "tusd")
"""Those that can put parts together."""


Running = tuple[str, str, Path]
"""The name of a server that runs, its URL, and where it has its data."""


@dataclass(frozen=True)
class Stranger:
    """A server of somebody else that runs, and the way to it through a proxy."""

    name: str
    data: Path
    proxy: HarmfulProxy
    client: Client
    place: Path

    def command(self, *arguments: str | Path, piped: Path | None = None) -> Command:
        """Return a call of the uploader."""
        given = ["--network-timeout", "5s", *map(str, arguments), self.proxy.url]
        return Command(given, self.place / "state", piped=piped)

    def stored(self, url: str) -> Path:
        """Return where the bytes of an upload are."""
        return self.data / url.rpartition("/")[2]

    async def assert_arrived(self, url: str, path: Path) -> None:
        """The upload is finished, and its bytes are those of the file."""
        head = await self.client.head(url)
        assert (head.status, head.headers["Upload-Offset"]) == (200, str(path.stat().st_size))
        assert sha256(self.stored(url)) == sha256(path)


@pytest.fixture(scope="module", params=STRANGERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server."""
    place = tmp_path_factory.mktemp("stranger")
    try:
        peer = STRANGERS[request.param](place)
    except NotRun as reason:
        pytest.skip(f"NOT RUN: {reason}")
    with peers.running(peer, place) as url:
        yield request.param, url, place / "data"


@pytest.fixture
async def stranger(running: Running, tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Stranger]:
    """The same behind a proxy, for one test."""
    name, url, data = running
    async with HarmfulProxy.open(url) as proxy:
        yield Stranger(name, data, proxy, Client(session, url), tmp_path)


@pytest.mark.parametrize("flags", [(), CHUNKS, PARTS, ("--checksum",)], ids=lambda flags: " ".join(flags) or "plain")
async def test_file(stranger: Stranger, file: Path, flags: tuple[str, ...]) -> None:
    """A file arrives whatever is asked for; what a server does not offer is done without."""
    ended = await stranger.command(*flags, file).once()
    assert (ended.code, ended.out.count("\n")) == (0, 1), ended
    await stranger.assert_arrived(ended.out.strip(), file)
    parts = flags == PARTS and stranger.name in JOINING
    assert (stranger.proxy.asked["POST"], stranger.proxy.asked["POST final"]) == ((3, 1) if parts else (1, 0))


async def test_verified(stranger: Stranger, file: Path) -> None:
    """No stranger tells a digest: the file is read back; tuspyserver lets nobody, and the command says so."""
    ended = await stranger.command("--verify", file).once()
    if stranger.name == "tuspyserver":
        assert (ended.code, "Method Not Allowed" in ended.errors) == (6, True), ended
    else:
        assert ended.code == 0, ended
        assert stranger.proxy.asked["GET"] == 1


async def test_empty_file(stranger: Stranger, tmp_path: Path) -> None:
    """A file of no bytes arrives."""
    path = tmp_path / "empty.bin"
    path.touch()
    ended = await stranger.command(path).once()
    assert ended.code == 0, ended
    await stranger.assert_arrived(ended.out.strip(), path)


async def test_folder(stranger: Stranger, tmp_path: Path) -> None:
    """A folder arrives file by file."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    paths = [folder / "a.bin", folder / "sub" / "b.bin"]
    for number, path in enumerate(paths):
        path.write_bytes(random.Random(number).randbytes(100_000))
    ended = await stranger.command("--recursive", folder).once()
    assert ended.code == 0, ended
    told = sorted(tuple(line.split("\t")) for line in ended.out.splitlines())
    for url, name in told:
        await stranger.assert_arrived(url, tmp_path / name)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("what", "harm"),
    [
        ("PATCH", Severed(MIB, Cut.RST)),
        ("PATCH", Severed(MIB, Cut.FIN)),
        ("PATCH", Swallowed(Cut.RST)),
        ("PATCH", Answered(503)),
        ("POST", Answered(502)),
        ("HEAD", Answered(423)),
    ],
    ids=str,
)
async def test_resumed_at_once(stranger: Stranger, file: Path, what: str, harm: Harm) -> None:
    """A file gets through a cut, an answer that was lost, and a proxy that says no for a while, in one upload."""
    if what == "HEAD":
        stranger.proxy.plan("PATCH", Severed(MIB, Cut.RST))
    stranger.proxy.plan(what, harm)
    ended = await stranger.command(file).once()
    assert (ended.code, stranger.proxy.planned) == (0, 0), ended
    await stranger.assert_arrived(ended.out.strip(), file)
    assert stranger.proxy.asked["POST"] == (2 if what == "POST" else 1)


async def test_creation_is_not_known(stranger: Stranger, file: Path) -> None:
    """An answer to a creation that is lost makes another upload: no stranger knows the client's key for the first."""
    stranger.proxy.plan("POST", Swallowed(Cut.RST))
    ended = await stranger.command(file).once()
    assert (ended.code, stranger.proxy.asked["POST"]) == (0, 2), ended
    await stranger.assert_arrived(ended.out.strip(), file)
    assert stranger.proxy.received == file.stat().st_size


async def test_whole_is_not_known(stranger: Stranger, file: Path) -> None:
    """Parts of which nobody was told that they are one are put together again.

    tuspyserver has removed them by then, so that they are sent again; @tus/server knows no parts.
    """
    stranger.proxy.plan("POST final" if stranger.name in JOINING else "POST", Swallowed(Cut.RST))
    ended = await stranger.command(*PARTS, file).once()
    assert (ended.code, stranger.proxy.planned) == (0, 0), ended
    await stranger.assert_arrived(ended.out.strip(), file)
    expected = {"@tus/server": (2, 0), "tuspyserver": (6, 3), "tusd": (3, 2)}[stranger.name]
    assert (stranger.proxy.asked["POST"], stranger.proxy.asked["POST final"]) == expected
    assert stranger.proxy.received == file.stat().st_size * (2 if stranger.name == "tuspyserver" else 1)


async def test_resumed_later(stranger: Stranger, file: Path) -> None:
    """The same command goes on with the same upload after the first one was killed."""
    stranger.proxy.plan("PATCH", Slowed(rate=2 * MIB))
    command = stranger.command(file)
    running = asyncio.create_task(command.once())
    await until(lambda: _is(stranger.proxy.received > MIB), timeout=30)
    command.kill()
    assert (await running).code == -signal.SIGKILL
    ended = await command.once()
    assert ended.code == 0, ended
    await stranger.assert_arrived(ended.out.strip(), file)
    assert stranger.proxy.asked["POST"] == 1


async def test_pipe(stranger: Stranger, file: Path) -> None:
    """What comes from a pipe arrives, though its length is told only at its end; tuspyserver's HEAD needs a type."""
    ended = await stranger.command("-m", "filename=film.bin", "-m", "filetype=video/mp4", "-", piped=file).once()
    assert ended.code == 0, ended
    await stranger.assert_arrived(ended.out.strip(), file)


@pytest.mark.parametrize("parallel", [1, 3])
async def test_library(stranger: Stranger, file: Path, parallel: int) -> None:
    """The library does what the command does, and removes what nobody wants any more."""
    async with Uploads(stranger.proxy.url, options=Options(parallel=parallel)) as uploads:
        arrived = await uploads.upload(file)
        assert arrived.size == arrived.sent == file.stat().st_size
        await stranger.assert_arrived(arrived.url, file)
        await uploads.terminate(arrived.url)
    assert (await stranger.client.head(arrived.url)).status in (404, 410)
    assert not stranger.stored(arrived.url).exists()


async def _is(condition: bool) -> bool:
    return condition
