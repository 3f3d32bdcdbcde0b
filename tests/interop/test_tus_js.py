"""tus-js-client 4.3, the client behind Uppy, against our server: the real package, run by node."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.proxy import Cut, CuttingProxy
from tests.support.servers import Target

HERE = Path(__file__).parent / "tus_js"
MIB = 2**20
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="NOT RUN: needs node")


@pytest.fixture(scope="module")
def tus_js() -> Path:
    """Return a directory that has the client installed: ours, or one that outlives this run."""
    if (HERE / "node_modules" / "tus-js-client").is_dir():
        return HERE
    lock = (HERE / "package-lock.json").read_bytes()
    place = Path(tempfile.gettempdir()) / f"tusd-py-tus-js-{os.getuid()}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (place / "node_modules" / "tus-js-client").is_dir():
        if (npm := shutil.which("npm")) is None:
            pytest.skip("NOT RUN: needs npm")
        with tempfile.TemporaryDirectory(dir=place.parent) as fresh:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, fresh)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=fresh, capture_output=True, timeout=100, check=False)
            if done.returncode:
                pytest.skip(f"NOT RUN: npm could not install tus-js-client: {done.stderr.decode()[-200:]}")
            shutil.copytree(fresh, place, dirs_exist_ok=True)
    return place


@pytest.fixture
async def proxy(server: Target) -> AsyncIterator[CuttingProxy]:
    """A way to the server that can be cut."""
    async with CuttingProxy.open(server.url) as proxy:
        yield proxy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of a bit more than 3 MiB."""
    path = tmp_path / "film.bin"
    path.write_bytes(os.urandom(3 * MIB + 17))
    return path


async def run(place: Path, path: Path, base: str, **options: Any) -> dict[str, Any]:
    """Upload a file with tus-js-client and return what it says about it."""
    assert NODE is not None
    child = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / "upload.mjs"),
        str(path),
        base,
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TUS_JS_HOME": str(place)},
    )
    try:
        out, errors = await asyncio.wait_for(child.communicate(), 20)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert out, errors.decode()
    said: dict[str, Any] = json.loads(out)
    return said


async def assert_arrived(client: Client, server: Target, said: dict[str, Any], path: Path) -> str:
    """The upload is finished, and its bytes are those of the file, on the disk and on the way back."""
    assert "error" not in said, said
    location = client.base + said["url"].rpartition("/")[2]
    sums = [hashlib.sha256(each.read_bytes()).hexdigest() for each in (server.data_path(location), path)]
    assert sums[0] == sums[1]
    assert (await client.get(location)).body == path.read_bytes()
    return location


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        pytest.param({}, ["POST", "PATCH"], id="one request"),
        pytest.param({"chunkSize": MIB}, ["POST"] + ["PATCH"] * 4, id="chunks"),
        pytest.param({"chunkSize": 1_000_003}, ["POST"] + ["PATCH"] * 4, id="odd chunks"),
        pytest.param({"uploadDataDuringCreation": True}, ["POST"], id="all with the creation"),
        pytest.param(
            {"uploadDataDuringCreation": True, "chunkSize": MIB}, ["POST"] + ["PATCH"] * 3, id="first with the creation"
        ),
        pytest.param({"overridePatchMethod": True, "chunkSize": 2 * MIB}, ["POST", "PATCH", "PATCH"], id="no PATCH"),
        pytest.param({"addRequestId": True}, ["POST", "PATCH"], id="request ids"),
        pytest.param({"stream": True, "chunkSize": MIB}, ["POST"] + ["PATCH"] * 4, id="stream"),
        pytest.param({"deferred": True, "chunkSize": MIB}, ["POST"] + ["PATCH"] * 4, id="deferred length"),
        pytest.param(
            {"deferred": True, "chunkSize": MIB, "uploadDataDuringCreation": True}, None, id="deferred, with creation"
        ),
    ],
)
async def test_ways_to_upload(
    client: Client,
    server: Target,
    tus_js: Path,
    file: Path,
    *,
    options: dict[str, Any],
    requests: list[str] | None,
) -> None:
    """A file arrives in every way in which the client can send it, in as few requests as that needs. (protocol 14)"""
    said = await run(tus_js, file, server.url, **options)
    await assert_arrived(client, server, said, file)
    assert requests is None or said["requests"] == requests


async def test_parallel(client: Client, server: Target, tus_js: Path, file: Path) -> None:
    """Three parts at the same time become one file, with the metadata of the whole. (CAT-01, CAT-04)"""
    said = await run(tus_js, file, server.url, parallelUploads=3, metadata={"filename": "film.bin"})
    location = await assert_arrived(client, server, said, file)
    assert sorted(said["requests"]) == ["PATCH"] * 3 + ["POST"] * 4
    head = await client.head(location)
    assert head.headers["Upload-Concat"].startswith("final;")
    assert head.headers["Upload-Metadata"] == "filename ZmlsbS5iaW4="


async def test_metadata(client: Client, server: Target, tus_js: Path, file: Path) -> None:
    """Names and types arrive as they were given. (CRE-META-01)"""
    said = await run(tus_js, file, server.url, metadata={"filename": "s\u0142o\u0144ce", "filetype": "a/b"})
    location = await assert_arrived(client, server, said, file)
    assert (await client.head(location)).headers["Upload-Metadata"] == "filename c8WCb8WEY2U=,filetype YS9i"


async def test_empty_file(client: Client, server: Target, tus_js: Path, tmp_path: Path) -> None:
    """A file of no bytes is finished by its creation. (CRE-POST-07)"""
    path = tmp_path / "empty"
    path.touch()
    said = await run(tus_js, path, server.url)
    await assert_arrived(client, server, said, path)
    assert said["requests"] == ["POST"]


@pytest.mark.parametrize("store", [False, True], ids=["by url", "by storage"])
async def test_aborted_and_resumed(
    client: Client, server: Target, tus_js: Path, file: Path, *, tmp_path: Path, store: bool
) -> None:
    """An upload that was stopped goes on where it was, found by its URL or in the client's storage. (CORE-HEAD-01)"""
    options = {"store": str(tmp_path / "urls.json")} if store else {}
    said = await run(tus_js, file, server.url, abortAt=MIB + MIB // 2, chunkSize=MIB, **options)
    await assert_arrived(client, server, said, file)
    assert said["aborted"]
    assert said["requests"].count("POST") == 1
    assert "HEAD" in said["requests"]


async def test_terminated(client: Client, server: Target, tus_js: Path, file: Path) -> None:
    """An upload that the user gives up is gone, data and all. (TERM-01, I12)"""
    said = await run(tus_js, file, server.url, abortAt=MIB, chunkSize=MIB, terminate=True)
    assert said["requests"][-1] == "DELETE"
    location = client.base + said["url"].rpartition("/")[2]
    assert (await client.head(location)).status in (404, 410)
    assert not server.data_path(location).exists()


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
@pytest.mark.parametrize("parallel", [1, 3])
async def test_cut(
    client: Client, server: Target, tus_js: Path, proxy: CuttingProxy, *, file: Path, how: Cut, parallel: int
) -> None:
    """Connections that are cut cost nothing but retries. (I1, I3, I4)"""
    for count in (300_000, 400_000, 500_000):
        proxy.cut_after(count, how)
    said = await run(tus_js, file, proxy.url, parallelUploads=parallel)
    assert proxy.cut == 3
    await assert_arrived(client, server, said, file)


async def test_too_large(client: Client, server: Target, tus_js: Path, file: Path) -> None:
    """A refusal is understood and not retried: the answer is the same. (protocol 14, CORE-HEAD-02)"""
    url = await client.create(5)
    said = await run(tus_js, file, server.url, uploadUrl=url)
    assert "error" in said
    assert said["requests"].count("PATCH") <= 1
    assert (await client.head(url)).headers["Upload-Length"] == "5"
