"""tus-js-client 4.3, the client behind Uppy, against our server: the real package, run by node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.interop.arrival import assert_arrived, location_of
from tests.interop.mounts import Member, Mount
from tests.interop.packages import installed
from tests.support.proxy import Cut, CuttingProxy

CLIENT = "tus-js-client"
HERE = Path(__file__).parent / "tus_js"
MIB = 2**20
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="NOT RUN: needs node")


@pytest.fixture(scope="module")
def tus_js() -> Path:
    """Return a directory that has the client installed."""
    return installed(HERE, "tus-js-client")


async def run(place: Path, path: Path, server: Mount, base: str | None = None, **options: Any) -> dict[str, Any]:
    """Upload a file with tus-js-client, maybe on another way than the direct one, and return what it says about it."""
    assert NODE is not None
    child = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / "upload.mjs"),
        str(path),
        base or server.url,
        json.dumps({"headers": dict(server.headers), **options}),
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


async def assert_said(client: Member, server: Mount, said: dict[str, Any], path: Path) -> str:
    """The client says that it is done, and the file arrived."""
    assert "error" not in said, said
    return await assert_arrived(client, server, said["url"], path)


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
    client: Member,
    server: Mount,
    tus_js: Path,
    file: Path,
    *,
    options: dict[str, Any],
    requests: list[str] | None,
) -> None:
    """A file arrives in every way in which the client can send it, in as few requests as that needs. (protocol 14)"""
    said = await run(tus_js, file, server, **options)
    await assert_said(client, server, said, file)
    assert requests is None or said["requests"] == requests


async def test_parallel(client: Member, server: Mount, tus_js: Path, file: Path) -> None:
    """Four parts at the same time become one file, with the metadata of the whole. (CAT-01, CAT-04)"""
    said = await run(tus_js, file, server, parallelUploads=4, metadata={"filename": "film.bin"})
    location = await assert_said(client, server, said, file)
    assert sorted(said["requests"]) == ["PATCH"] * 4 + ["POST"] * 5
    head = await client.head(location)
    assert head.headers["Upload-Concat"].startswith("final;")
    assert head.headers["Upload-Metadata"] == "filename ZmlsbS5iaW4="


async def test_metadata(client: Member, server: Mount, tus_js: Path, file: Path) -> None:
    """Names and types arrive as they were given. (CRE-META-01)"""
    said = await run(tus_js, file, server, metadata={"filename": "s\u0142o\u0144ce", "filetype": "a/b"})
    location = await assert_said(client, server, said, file)
    assert (await client.head(location)).headers["Upload-Metadata"] == "filename c8WCb8WEY2U=,filetype YS9i"


async def test_empty_file(client: Member, server: Mount, tus_js: Path, tmp_path: Path) -> None:
    """A file of no bytes is finished by its creation. (CRE-POST-07)"""
    path = tmp_path / "empty"
    path.touch()
    said = await run(tus_js, path, server)
    await assert_said(client, server, said, path)
    assert said["requests"] == ["POST"]


@pytest.mark.parametrize("store", [False, True], ids=["by url", "by storage"])
async def test_aborted_and_resumed(
    client: Member, server: Mount, tus_js: Path, file: Path, *, tmp_path: Path, store: bool
) -> None:
    """An upload that was stopped goes on where it was, found by its URL or in the client's storage. (CORE-HEAD-01)"""
    options = {"store": str(tmp_path / "urls.json")} if store else {}
    said = await run(tus_js, file, server, abortAt=MIB + MIB // 2, chunkSize=MIB, **options)
    await assert_said(client, server, said, file)
    assert said["aborted"]
    assert said["requests"].count("POST") == 1
    assert "HEAD" in said["requests"]


async def test_terminated(client: Member, server: Mount, tus_js: Path, file: Path) -> None:
    """An upload that the user gives up is gone, data and all. (TERM-01, I12)"""
    said = await run(tus_js, file, server, abortAt=MIB, chunkSize=MIB, terminate=True)
    assert said["requests"][-1] == "DELETE"
    location = location_of(client, said["url"])
    assert (await client.head(location)).status in (404, 410)
    assert not server.data_path(location).exists()


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="buffer"),
        pytest.param({"stream": True, "chunkSize": MIB}, id="stream"),
        pytest.param({"parallelUploads": 4}, id="4 at once"),
        pytest.param({"uploadDataDuringCreation": True, "chunkSize": MIB}, id="with the creation"),
        pytest.param({"deferred": True, "chunkSize": MIB}, id="deferred length"),
        pytest.param({"overridePatchMethod": True, "chunkSize": 2 * MIB}, id="no PATCH"),
    ],
)
async def test_cut(
    client: Member,
    server: Mount,
    tus_js: Path,
    proxy: CuttingProxy,
    *,
    file: Path,
    how: Cut,
    options: dict[str, Any],
) -> None:
    """Connections that are cut cost nothing but retries, whatever way the file is sent. (I1, I3, I4)"""
    for count in (300_000, 400_000, 500_000):
        proxy.cut_after(count, how)
    said = await run(tus_js, file, server, proxy.url, **options)
    assert proxy.cut == 3
    await assert_said(client, server, said, file)


async def test_cut_aborted_and_resumed(
    client: Member, server: Mount, tus_js: Path, proxy: CuttingProxy, file: Path
) -> None:
    """An upload that was stopped goes on where it was, over connections that are cut before and after. (I1, I3)"""
    for count in (300_000, 2 * MIB):
        proxy.cut_after(count)
    said = await run(tus_js, file, server, proxy.url, abortAt=MIB + MIB // 2, chunkSize=MIB)
    await assert_said(client, server, said, file)
    assert said["aborted"]
    assert said["requests"].count("POST") == 1


async def test_cut_and_terminated(client: Member, server: Mount, tus_js: Path, proxy: CuttingProxy, file: Path) -> None:
    """An upload that was cut, resumed and then given up by the user is gone, data and all. (TERM-01, I12)"""
    proxy.cut_after(300_000)
    said = await run(tus_js, file, server, proxy.url, abortAt=MIB, chunkSize=MIB, terminate=True)
    assert proxy.cut == 1
    assert said["requests"][-1] == "DELETE"
    location = location_of(client, said["url"])
    assert (await client.head(location)).status in (404, 410)
    assert not server.data_path(location).exists()


async def test_too_large(client: Member, server: Mount, tus_js: Path, file: Path) -> None:
    """A refusal is understood and not retried: the answer is the same. (protocol 14, CORE-HEAD-02)"""
    url = await client.create(5)
    said = await run(tus_js, file, server, uploadUrl=url)
    assert "error" in said
    assert said["requests"].count("PATCH") <= 1
    assert (await client.head(url)).headers["Upload-Length"] == "5"
