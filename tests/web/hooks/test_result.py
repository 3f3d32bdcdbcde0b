"""GET <upload>/result: what became of an upload and of the work that it owes, for its client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import tusd_py
from tests.support.client import CT, Client, T
from tests.support.hooked import Hooked, hooked
from tests.support.state import check_refusal
from tests.support.timed import name_of
from tests.support.waiting import until
from tusd_py.models.hook import HookReply


async def result(client: Client, url: str) -> dict[str, Any]:
    """Return the document of an upload."""
    answer = await client.get(url + "/result")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.headers["Tus-Resumable"], answer.headers["X-Content-Type-Options"]) == ("1.0.0", "nosniff")
    document: dict[str, Any] = json.loads(answer.body)
    return document


async def test_states(server: Hooked, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state that a client may know of has its document; deliveries of hooks are nobody's business."""
    monkeypatch.setattr("tusd_py.engine.finishing.FIRST_DELAY", 1000)
    url = await client.create(5)
    common = {"id": name_of(url), "length": 5, "jobs": [], "reason": None, "finished_at": None}
    assert await result(client, url) == {**common, "state": "open", "offset": 0}
    await client.patch(url, 0, b"hel")
    assert await result(client, url) == {**common, "state": "open", "offset": 3}
    server.app.says("pre-finish", RuntimeError("secret"))
    await client.patch(url, 3, b"lo")
    assert await result(client, url) == {**common, "state": "finishing", "offset": 5}
    server.app.says("pre-finish", HookReply(refuses=True, body="no cats"))
    bad = await client.create(5)
    await client.patch(bad, 0, b"hello")
    assert await result(client, bad) == {
        **common, "id": name_of(bad), "state": "rejected", "offset": 5, "reason": "no cats",
    }  # fmt: skip
    server.app.says("pre-finish", None)
    good = await client.upload(b"hello")
    await server.settle()
    document = await result(client, good)
    assert document.pop("finished_at") > 0
    assert (document["state"], document["jobs"]) == ("finished", [])
    deferred = await client.create(None)
    assert (await result(client, deferred))["length"] is None


async def test_jobs(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A client sees how far the work is and what came of it, and nothing of what went wrong inside (row 58)."""
    go = asyncio.Event()
    async with hooked(tmp_path / "data") as server:
        client = Client(session, server.target.url)
        tus = server.target.tus
        assert tus is not None

        @tus.task("scan")
        async def scan(upload: tusd_py.FinishedUpload) -> dict[str, object]:
            upload.report(0.25)
            await go.wait()
            return {"clean": True, "bytes": upload.length}

        @tus.task("thumbnail", retries=0)
        async def thumbnail(upload: tusd_py.FinishedUpload) -> None:
            raise RuntimeError(f"secret {upload.path}")

        url = await client.upload(b"hello")

        async def is_so_far() -> bool:
            jobs = {job["name"]: job for job in (await result(client, url))["jobs"]}
            return jobs["scan"].get("progress") == 0.25 and jobs["thumbnail"]["state"] == "discarded"

        await until(is_so_far)
        scanning, thumb = (await result(client, url))["jobs"]
        assert scanning == {"name": "scan", "state": "executing", "attempt": 1, "progress": 0.25}
        assert thumb == {"name": "thumbnail", "state": "discarded", "attempt": 1}
        go.set()
        await server.settle()
        answer = await client.get(url + "/result")
        done = json.loads(answer.body)["jobs"][0]
        assert (done["state"], done["result"]) == ("completed", {"clean": True, "bytes": 5})
        for secret in (b"secret", b"RuntimeError", str(server.target.data_dir).encode()):
            assert secret not in answer.body


async def test_nothing_there(client: Client) -> None:
    """What is unknown, cannot be an id, is on its way out or gone is not found."""
    url = await client.upload(b"hello")
    assert (await client.delete(url)).status == 204
    for upload in (url, client.base + "0" * 32, client.base + "a%2Fb", client.base + ".."):
        answer = await client.send("GET", upload + "/result")
        assert answer.status == 404, upload
    check_refusal(await client.get(url + "/result"), 404, "ERR_UPLOAD_NOT_FOUND")
    # There is no upload without a name.
    assert (await client.get(client.base + "result")).status == 404
    assert (await client.get(client.base + "/result")).status in (404, 405)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "HEAD", "PUT"])
async def test_other_methods(client: Client, method: str) -> None:
    """The document can be read, and nothing else; the upload behind it does not change."""
    url = await client.upload(b"hello")
    answer = await client.send(method, url + "/result", {**T, **CT, "Upload-Offset": "5"})
    assert (answer.status, answer.headers["Allow"]) == (405, "OPTIONS, GET")
    assert await client.offset(url) == 5


async def test_versions(client: Client) -> None:
    """A browser that speaks no tus may ask; somebody who speaks another version may not (CORE-VER-01)."""
    url = await client.upload(b"hello")
    assert (await client.get(url + "/result", T)).status == 200
    assert (await client.get(url + "/result", {"Tus-Resumable": "0.2.2"})).status == 412
    assert (await client.get(url + "/result/")).status == 200


async def test_across_origins(client: Client) -> None:
    """A page of another origin may read it, and may see the link to it (CORS-01)."""
    url = await client.create(5)
    page = {"Origin": "https://page.example"}
    last = await client.patch(url, 0, b"hello", page)
    assert "Link" in last.headers["Access-Control-Expose-Headers"].split(", ")
    for path in ("/result", "x/result"):
        answer = await client.get(url + path, page)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    preflight = {**page, "Access-Control-Request-Method": "GET"}
    assert (await client.send("OPTIONS", url + "/result", preflight)).status == 200


async def test_link(client: Client) -> None:
    """Whoever learns that an upload is finished learns where its result is; there is none of a part."""

    def link(url: str) -> str:
        return f'<{url}/result>; rel="describedby"'

    url = await client.create(10)
    assert "Link" not in (await client.patch(url, 0, b"hello")).headers
    assert "Link" not in (await client.head(url)).headers
    assert (await client.patch(url, 5, b"world")).headers["Link"] == link(url)
    assert (await client.head(url)).headers["Link"] == link(url)
    assert (await client.patch(url, 10)).headers["Link"] == link(url)
    for headers, body in (({"Upload-Length": "5", **CT}, b"hello"), ({"Upload-Length": "0"}, None)):
        answer = await client.post(headers, body)
        assert answer.headers["Link"] == link(answer.headers["Location"])
    assert "Link" not in (await client.post({"Upload-Length": "5"})).headers
    part = await client.create(5, Upload_Concat="partial")
    assert "Link" not in (await client.patch(part, 0, b"hello")).headers
    assert "Link" not in (await client.head(part)).headers
    final = await client.post({"Upload-Concat": f"final;{part}"})
    assert final.headers["Link"] == link(final.headers["Location"])
    assert (await client.get(final.headers["Location"] + "/result")).status == 200
