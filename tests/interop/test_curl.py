"""curl against our server: the requests of scripts and of programs such as rclone, in somebody else's HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.arrival import assert_arrived, location_of, until_committed
from tests.interop.mounts import Member, Mount
from tests.interop.table import version_of
from tests.support.proxy import Cut, CuttingProxy

CLIENT = "curl"
CURL = shutil.which("curl")
MIB = 2**20
MARK = "%{stderr}\nreport: "
CUT = {18, 52, 55, 56}
"""Exit codes of curl when the connection went away: partial file, nothing came, sending failed, receiving failed."""

pytestmark = pytest.mark.skipif(
    tuple(map(int, (version_of("curl") or "0.0").split(".")))[:2] < (7, 83), reason="NOT RUN: needs curl 7.83"
)


@dataclass(frozen=True)
class Said:
    """What curl says of one transfer."""

    exit: int
    status: int
    headers: dict[str, str]
    sent: int
    body: bytes
    trace: str


class Curl:
    """Runs curl with what the host of a server wants to see in every request."""

    def __init__(self, server: Mount) -> None:
        self._own = {"Tus-Resumable": "1.0.0", **server.headers}

    async def run(self, url: str, *arguments: str, data: bytes | None = None, **headers: str) -> Said:
        """Run curl once; `Upload_Offset="0"` adds a header, `data` is what it can read from its standard input."""
        named = {**self._own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        flags = [flag for name, value in named.items() for flag in ("-H", f"{name}: {value}")]
        report = MARK + "%{http_code} %{size_upload} %{header_json}"
        command = [str(CURL), "-q", "-sSv", "--noproxy", "*", "--max-time", "20", "-w", report, *flags, *arguments, url]
        child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        body, errors = await child.communicate(data or b"")
        trace, _, told = errors.decode().rpartition(MARK.removeprefix("%{stderr}"))
        status, sent, headers_json = told.split(" ", 2)
        answered = {name: values[0] for name, values in json.loads(headers_json).items()}
        assert child.returncode is not None
        return Said(child.returncode, int(status), answered, int(sent), body, trace)

    async def create(self, base: str, length: int) -> str:
        """Create an upload and return its URL."""
        name = "filename " + b64encode(b"film.bin").decode()
        said = await self.run(base, "-X", "POST", Upload_Length=str(length), Upload_Metadata=name)
        assert said.status == 201, said
        return said.headers["location"]

    async def patch(self, url: str, offset: int, *arguments: str, data: bytes | None = None, **headers: str) -> Said:
        """Send a PATCH; the arguments say where its body comes from."""
        headers = {"Upload_Offset": str(offset), "Content_Type": "application/offset+octet-stream", **headers}
        return await self.run(url, "-X", "PATCH", *arguments, data=data, **headers)


@pytest.fixture
def curl(server: Mount) -> Curl:
    """Curl for the shared server."""
    return Curl(server)


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
async def test_file_in_one_request(client: Member, server: Mount, curl: Curl, file: Path, version: str) -> None:
    """`curl -T file` sends a file with its length in one PATCH, in either version of HTTP. (CORE-PATCH-01)"""
    url = await curl.create(server.url, file.stat().st_size)
    said = await curl.patch(url, 0, version, "-T", str(file))
    assert (said.exit, said.status, said.headers["upload-offset"]) == (0, 204, str(file.stat().st_size))
    await assert_arrived(client, server, url, file)


async def test_waits_for_100(client: Member, server: Mount, curl: Curl, file: Path) -> None:
    """A client that asks before it sends gets its 100 Continue, at once and before any byte. (CORE-BODY-09)"""
    url = await curl.create(server.url, file.stat().st_size)
    said = await curl.patch(url, 0, "--expect100-timeout", "15", "-T", str(file), Expect="100-continue")
    assert "< HTTP/1.1 100 Continue" in said.trace
    assert (said.status, said.sent) == (204, file.stat().st_size)
    await assert_arrived(client, server, url, file)


async def test_refused_before_the_body(client: Member, server: Mount, curl: Curl, file: Path) -> None:
    """A client that asks before it sends hears of a wrong offset without sending a byte. (CORE-BODY-10)"""
    url = await curl.create(server.url, file.stat().st_size)
    said = await curl.patch(url, 5, "--expect100-timeout", "15", "-T", str(file), Expect="100-continue")
    assert "100 Continue" not in said.trace
    assert (said.status, said.sent) == (409, 0)
    assert await client.offset(url) == 0


@pytest.mark.parametrize("asks", [False, True], ids=["plain", "asks first"])
async def test_pipe(client: Member, server: Mount, curl: Curl, file: Path, asks: bool) -> None:
    """`curl -T -` sends what comes out of a pipe in chunks, without saying how much it will be. (CORE-PATCH-01)"""
    url = await curl.create(server.url, file.stat().st_size)
    expect = "100-continue" if asks else ""
    said = await curl.patch(url, 0, "-T", "-", data=file.read_bytes(), Expect=expect)
    assert "> Transfer-Encoding: chunked" in said.trace
    assert said.status == 204
    await assert_arrived(client, server, url, file)


async def test_chunk_after_chunk(client: Member, server: Mount, curl: Curl, file: Path) -> None:
    """A program that reads a file bit by bit sends one PATCH for each, at the offset it was told. (CORE-PATCH-01)"""
    url = await curl.create(server.url, file.stat().st_size)
    content, offset = file.read_bytes(), 0
    while offset < len(content):
        piece = content[offset : offset + MIB]
        said = await curl.patch(url, offset, "--data-binary", "@-", data=piece)
        assert (said.status, said.headers["upload-offset"]) == (204, str(offset + len(piece)))
        offset += len(piece)
    await assert_arrived(client, server, url, file)


async def test_data_with_the_creation(client: Member, server: Mount, curl: Curl, file: Path) -> None:
    """One request makes an upload and fills it. (CWU-01)"""
    kind, size = "application/offset+octet-stream", str(file.stat().st_size)
    said = await curl.run(server.url, "--data-binary", f"@{file}", Upload_Length=size, Content_Type=kind)
    assert (said.status, said.headers["upload-offset"]) == (201, size)
    await assert_arrived(client, server, said.headers["location"], file)


async def test_post_instead_of_patch(client: Member, server: Mount, curl: Curl, file: Path) -> None:
    """A POST that says it is a PATCH is one. (CORE-OVR-01)"""
    url = await curl.create(server.url, file.stat().st_size)
    said = await curl.patch(url, 0, "-X", "POST", "-T", str(file), X_HTTP_Method_Override="PATCH")
    assert said.status == 204
    await assert_arrived(client, server, url, file)


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
@pytest.mark.parametrize("source", ["file", "pipe"])
async def test_cut_and_resumed(
    client: Member, server: Mount, curl: Curl, proxy: CuttingProxy, *, file: Path, how: Cut, source: str
) -> None:
    """A script whose curl was cut asks for the offset and sends the rest, with a length or in chunks. (I1, I3)"""
    url = await curl.create(proxy.url, file.stat().st_size)
    proxy.cut_after(2 * MIB, how)
    content = file.read_bytes()
    body = ["-T", str(file) if source == "file" else "-"]
    said = await curl.patch(url, 0, *body, data=None if source == "file" else content)
    assert said.exit in CUT
    location = location_of(client, url)
    await until_committed(client, location)
    head = await curl.run(location, "-I")
    offset = int(head.headers["upload-offset"])
    assert 0 < offset <= 2 * MIB
    rest = ["--data-binary", "@-"] if source == "file" else ["-T", "-"]
    assert (await curl.patch(location, offset, *rest, data=content[offset:])).status == 204
    await assert_arrived(client, server, location, file)


async def test_download_goes_on(server: Mount, curl: Curl, file: Path, tmp_path: Path) -> None:
    """A download that was broken off goes on where it was: `curl -C -`. (GET-02)"""
    url = await curl.create(server.url, file.stat().st_size)
    await curl.patch(url, 0, "-T", str(file))
    copy = tmp_path / "copy.bin"
    copy.write_bytes(file.read_bytes()[:MIB])
    said = await curl.run(url, "-C", "-", "-o", str(copy))
    assert said.status == 206
    assert copy.read_bytes() == file.read_bytes()


async def test_terminated(client: Member, server: Mount, curl: Curl, file: Path) -> None:
    """An upload that a script deletes is gone, data and all. (TERM-01, I12)"""
    url = await curl.create(server.url, file.stat().st_size)
    assert (await curl.patch(url, 0, "--data-binary", "@-", data=b"x" * 1000)).status == 204
    assert (await curl.run(url, "-X", "DELETE")).status == 204
    assert (await client.head(url)).status in (404, 410)
    assert not server.data_path(url).exists()
