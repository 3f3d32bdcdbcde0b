"""Examples 07 and 08: behind real nginx and real Caddy nothing is collected, nothing is lost, and Location is right."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.examples.place import Place, Running, commands, free_port, path_of
from tests.support.client import CT, Client, T
from tests.support.proxy import Cut, CuttingProxy
from tests.support.waiting import until
from tests.support.wire import Wire

KINDS = ["nginx", "nginx-socket", "caddy", "caddy-socket"]
MIB = 2**20


@dataclass
class Front:
    """A proxy with a server behind it."""

    place: Place
    url: str
    """Base URL of uploads through the proxy."""
    public_host: str
    """A name under which the proxy may be asked."""
    data_dir: Path
    ca: str = ""
    """A certificate to trust; empty without TLS."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What a client needs to trust the proxy."""
        return ssl.create_default_context(cafile=self.ca) if self.ca else None

    @property
    def env(self) -> dict[str, str]:
        """The same for tuspy."""
        return {"REQUESTS_CA_BUNDLE": self.ca} if self.ca else {}

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return int(self.url.split(":")[2].split("/")[0])

    async def wire(self) -> Wire:
        """Return a raw connection to the proxy."""
        host = "localhost" if self.ca else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname=host)
        return Wire(reader, writer, self.url.split("/")[2])


def installed(program: str) -> None:
    """Skip what needs a program that is not here."""
    if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip(f"NOT RUN: needs {program}")


@contextlib.asynccontextmanager
async def backend(place: Place, lines: list[str], socket: str) -> AsyncIterator[Running]:
    """Run the server of an example on a free port, or on a Unix socket.

    It commits whatever comes, so that HEAD shows at once what the proxy has handed on, not a checkpoint later.
    """
    listen = {"TUSD_PY_UNIX_SOCKET": socket} if socket else {"TUSD_PY_PORT": "0"}
    async with place.running(lines, TUSD_PY_CHECKPOINT_BYTES="1", **listen) as server:
        await server.announced()
        yield server


@contextlib.asynccontextmanager
async def nginx(place: Place, socket: str) -> AsyncIterator[Front]:
    """Run example 07. Its configuration is changed in nothing but the two addresses."""
    installed("nginx")
    folder = place.examples / "07-nginx"
    port = free_port()
    async with backend(place, commands("07-nginx", 0), socket) as server:
        address = f"unix:{socket}" if socket else server.url.removeprefix("http://")
        config = (folder / "nginx.conf").read_text(encoding="utf-8")
        for old, new in {"server 127.0.0.1:8080;": f"server {address};", ":8000;": f":{port};"}.items():
            assert config.count(old) == 1
            config = config.replace(old, new)
        (folder / "nginx.conf").write_text(config, encoding="utf-8")
        lines = commands("07-nginx", 1)
        assert "daemon off;" in lines[-1]
        if os.getuid() == 0:
            lines[-1] = lines[-1].replace("daemon off;", "daemon off; user root;")
        async with place.running(lines) as proxy:
            await proxy.listens(port)
            yield Front(place, f"http://127.0.0.1:{port}/files/", "uploads.example.com", folder / "data")
        assert "[emerg]" not in proxy.log, proxy.log
        assert "[alert]" not in proxy.log, proxy.log
        assert "[warn]" not in proxy.log, proxy.log


@contextlib.asynccontextmanager
async def caddy(place: Place, socket: str) -> AsyncIterator[Front]:
    """Run example 08, with a certificate that its README makes."""
    installed("caddy")
    installed("openssl")
    folder = place.examples / "08-caddy"
    port = free_port()
    async with backend(place, commands("08-caddy", 1), socket) as server:
        env = {
            "SITE": f"https://localhost:{port}",
            "SERVER": f"unix/{socket}" if socket else server.url.removeprefix("http://"),
            "HOME": str(place.root),
            "XDG_DATA_HOME": str(place.root / "caddy"),
            "XDG_CONFIG_HOME": str(place.root / "caddy"),
        }
        async with place.running(commands("08-caddy", 0), **env) as proxy:
            await proxy.listens(port)
            ca = str(folder / "cert.pem")
            yield Front(place, f"https://localhost:{port}/files/", f"localhost:{port}", folder / "data", ca)


@pytest.fixture(scope="module", params=KINDS)
async def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """A proxy of each kind, with a server on a port or on a Unix socket."""
    program, _, rest = str(request.param).partition("-")
    place = Place(tmp_path_factory.mktemp(program))
    (place.root / "big.iso").write_bytes(os.urandom(9 * MIB + 17))
    start = {"nginx": nginx, "caddy": caddy}[program]
    async with start(place, str(place.root / "tusd-py.sock") if rest else "") as front:
        yield front


@pytest.fixture
async def client(front: Front) -> AsyncIterator[Client]:
    """A client that comes through the proxy."""
    connector = aiohttp.TCPConnector(ssl=front.tls or True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        yield Client(session, front.url)


async def test_upload(front: Front) -> None:
    """A file of several MiB gets through with tuspy, and its URL is that of the proxy. (FWD-02)"""
    url = await front.place.upload("big.iso", front.url, **front.env)
    assert url.startswith(front.url)
    assert path_of(front.data_dir, url).read_bytes() == (front.place.root / "big.iso").read_bytes()


async def test_in_one_request(front: Front, client: Client) -> None:
    """The proxy does not limit the size of a request, and hands on every method. (CORE-PATCH-01)"""
    data = os.urandom(9 * MIB)
    url = await client.create(len(data))
    assert (await client.patch(url, 0, data)).status == 204
    assert path_of(front.data_dir, url).read_bytes() == data
    assert (await client.get(url)).body == data
    assert (await client.delete(url)).status == 204
    assert (await client.head(url)).status in (404, 410)
    assert (await client.send("OPTIONS")).headers["Tus-Version"] == "1.0.0"


async def test_location(front: Front, client: Client) -> None:
    """Location has the scheme and the host that the client used, whatever it claims to come from. (FWD-02, FWD-03)"""
    scheme = front.url.partition(":")[0]
    claims = {
        "Forwarded": "host=evil.example;proto=ftp",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "ftp",
        "X-Forwarded-Prefix": "/evil",
    }
    for headers in ({}, claims):
        answer = await client.post({"Upload-Length": "5", "Host": front.public_host, **headers})
        assert answer.status == 201
        assert answer.headers["Location"].startswith(f"{scheme}://{front.public_host}/files/")


async def test_not_collected(front: Front, client: Client) -> None:
    """While a client still sends, its bytes are on the disk, and HEAD shows a growing offset. (CORE-BODY-18)"""
    data = os.urandom(2 * MIB)
    url = await client.create(len(data))
    async with await front.wire() as wire:
        wire.start_patch(url, 0, {"Content-Length": str(len(data))})
        for sent in (MIB // 2, MIB):
            wire.send(data[sent - MIB // 2 : sent])
            await until(lambda sent=sent: shows(client, url, sent))
            assert path_of(front.data_dir, url).stat().st_size == sent
        wire.send(data[MIB:])
        assert (await wire.answer()).status == 204
    assert (await client.get(url)).body == data


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_cut_and_resumed(front: Front, how: Cut) -> None:
    """A client whose connections are cut on the way to the proxy goes on where it was, until all is there. (I1, I3)"""
    async with CuttingProxy.open(front.url) as cutting:
        cutting.cut_after(MIB, how)
        cutting.cut_after(3 * MIB, how)
        through = cutting.url.replace("127.0.0.1", "localhost") if front.ca else cutting.url
        url = await front.place.upload("big.iso", through, **front.env)
        assert cutting.cut == 2
    assert path_of(front.data_dir, url).read_bytes() == (front.place.root / "big.iso").read_bytes()


async def test_nothing_lost_by_a_cut(front: Front, client: Client) -> None:
    """What a client had sent when it vanished is kept; the next request goes on just there. (I1, CORE-BODY-03)"""
    data = os.urandom(MIB)
    url = await client.create(len(data))
    async with await front.wire() as wire:
        wire.start_patch(url, 0, {"Content-Length": str(len(data))})
        wire.send(data[:700_000])
        await until(lambda: stored(front, url, 700_000))
    await until(lambda: shows(client, url, 700_000))
    assert (await client.patch(url, 700_000, data[700_000:])).status == 204
    assert (await client.get(url)).body == data


async def test_refused_on_the_way(front: Front) -> None:
    """A refusal reaches a client long before it has sent its large body. (CORE-HEAD-02)"""
    async with await front.wire() as wire:
        wire.start("PATCH", "/files/unknown", {**T, **CT, "Upload-Offset": "0", "Content-Length": "10000000000"})
        answering = asyncio.create_task(wire.answer())
        # Caddy hands an answer on when the client sends something after it.
        while not answering.done():
            wire.send(b"x")
            await asyncio.wait({answering}, timeout=0.05)
        assert answering.result().status == 404


async def shows(client: Client, url: str, offset: int) -> bool:
    """Say whether HEAD has that offset."""
    return await client.offset(url) == offset


async def stored(front: Front, url: str, size: int) -> bool:
    """Say whether so many bytes are on the disk."""
    path = path_of(front.data_dir, url)
    return path.exists() and path.stat().st_size >= size
