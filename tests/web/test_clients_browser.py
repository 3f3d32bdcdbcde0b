"""What tus-js-client and Uppy send, and what they need to get (protocol section 14)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.client import Answer, Client, chunked
from tests.support.servers import Target
from tests.support.state import check_refusal, unchanged

PAGE = "https://app.example"
PREFLIGHT = "content-type,tus-resumable,upload-offset,upload-length,upload-metadata,x-request-id"
DATA = b"hello worlds"


class Js:
    """tus-js-client 4.3.1 in a browser (XMLHttpRequest) or on Node."""

    def __init__(self, client: Client, **headers: str) -> None:
        self._client = client
        self._usual = {"Tus-Resumable": "1.0.0"} | {name.replace("_", "-"): value for name, value in headers.items()}

    async def send(self, method: str, url: str | None, headers: dict[str, str], body=None) -> Answer:
        if "X-Request-ID" in self._usual:
            self._usual["X-Request-ID"] = str(uuid4())
        return await self._client.send(method, url, self._usual | headers, body)

    async def create(self, headers: dict[str, str], body=None) -> Answer:
        answer = await self.send("POST", None, headers, body)
        assert 200 <= answer.status < 300
        assert answer.headers["Location"]
        return answer

    async def patch(self, url: str, offset: int, body, **headers: str) -> int:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        answer = await self.send("PATCH", url, usual | more, body)
        assert 200 <= answer.status < 300, answer.body
        return int(answer.headers["Upload-Offset"])

    async def resume(self, url: str) -> int:
        """HEAD, then what the client does with it: offset and length, or it starts from zero."""
        answer = await self.send("HEAD", url, {})
        assert 200 <= answer.status < 300
        length = answer.headers.get("Upload-Length")
        assert (length is not None and length.isdigit()) or answer.headers["Upload-Defer-Length"] == "1"
        return int(answer.headers["Upload-Offset"])


async def test_js_in_a_browser(client: Client) -> None:
    """A page of another origin creates, fills, resumes and reads what it needs. (section 14: js)"""
    js = Js(client, Origin=PAGE)
    created = await js.create({"Upload-Length": "12", "Upload-Metadata": "filename d29ybGQucGRm,filetype "})
    url = created.headers["Location"]
    wish = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": PREFLIGHT, "Origin": PAGE}
    preflight = await client.send("OPTIONS", url, wish)
    assert preflight.status in (200, 204)
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower().replace(" ", "").split(",")
    assert set(PREFLIGHT.split(",")) <= set(allowed)
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    assert await js.patch(url, 0, DATA[:5]) == 5
    assert await js.resume(url) == 5
    assert await js.patch(url, 5, DATA[5:]) == 12
    for name in ("Location", "Upload-Offset", "Upload-Length", "Upload-Defer-Length"):
        assert name in created.headers["Access-Control-Expose-Headers"]
    assert (await client.get(url)).body == DATA


async def test_js_without_metadata(client: Client) -> None:
    """Client js sends no metadata header when it has none, and no PATCH for an empty file. (section 14: js)"""
    url = (await Js(client).create({"Upload-Length": "0"})).headers["Location"]
    assert await Js(client).resume(url) == 0
    assert (await client.get(url)).status == 200


async def test_js_override(client: Client) -> None:
    """With `overridePatchMethod` js sends PATCH as POST. (section 14: js, CORE-OVR-01)"""
    js = Js(client)
    url = (await js.create({"Upload-Length": "12"})).headers["Location"]
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    answer = await js.send("POST", url, {**headers, "X-HTTP-Method-Override": "PATCH"}, DATA)
    assert int(answer.headers["Upload-Offset"]) == 12


async def test_js_data_during_creation(client: Client) -> None:
    """With `uploadDataDuringCreation` js reads the offset of the POST. (section 14: js)"""
    js = Js(client)
    headers = {"Upload-Length": "12", "Content-Type": "application/offset+octet-stream"}
    answer = await js.create(headers, DATA[:5])
    assert int(answer.headers["Upload-Offset"]) == 5
    assert await js.patch(answer.headers["Location"], 5, DATA[5:]) == 12


async def test_js_five_on_node(client: Client) -> None:
    """Client js 5 on Node sends buffers chunked, without a length. (section 14: js, CORE-BODY-01)"""
    js = Js(client, User_Agent="node")
    url = (await js.create({"Upload-Length": "12"})).headers["Location"]
    assert await js.patch(url, 0, chunked(DATA[:5])) == 5
    assert await js.patch(url, 5, chunked(DATA[5:7], DATA[7:])) == 12
    assert (await client.get(url)).body == DATA


async def test_js_in_parallel(client: Client) -> None:
    """Client js uploads parts side by side and joins them by their absolute URLs, without a length. (section 14: js)"""
    js = Js(client, Origin=PAGE)
    parts = []
    for data in (DATA[:6], DATA[6:]):
        created = await js.create({"Upload-Length": "6", "Upload-Concat": "partial"})
        parts.append(created.headers["Location"])
        assert await js.patch(parts[-1], 0, data) == 6
    metadata = "filename d29ybGQucGRm"
    final = await js.create({"Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": metadata})
    assert (await client.get(final.headers["Location"])).body == DATA


async def test_js_terminates(client: Client) -> None:
    """DELETE must be 204 exactly, and HEAD after it 404 exactly. (section 14: js, CORE-HEAD-08)"""
    js = Js(client)
    url = (await js.create({"Upload-Length": "12"})).headers["Location"]
    assert (await js.send("DELETE", url, {})).status == 204
    assert (await js.send("HEAD", url, {})).status == 404


async def test_js_retries_a_conflict(client: Client, server: Target) -> None:
    """A conflict is 409, the one client error besides 423 after which js asks for the offset. (section 14: js)"""
    js = Js(client)
    url = (await js.create({"Upload-Length": "12"})).headers["Location"]
    await js.patch(url, 0, DATA[:5])
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    async with unchanged(client, server, url):
        check_refusal(await js.send("PATCH", url, headers, DATA), 409, "ERR_MISMATCHED_OFFSET")
    assert await js.patch(url, await js.resume(url), DATA[5:]) == 12


@pytest.mark.parametrize("size", [12, 10], ids=["last chunk full", "last chunk empty"])
async def test_uppy_companion(client: Client, size: int) -> None:
    """Companion streams chunks of a length it does not know, and numbers its requests. (section 14: Uppy)"""
    js = Js(client, X_Request_ID="first", User_Agent="companion")
    created = await js.create({"Upload-Defer-Length": "1", "Upload-Metadata": "name d29ybGQucGRm,type "})
    url = created.headers["Location"]
    assert await js.patch(url, 0, DATA[:5]) == 5
    assert await js.resume(url) == 5
    assert await js.patch(url, 5, DATA[5:10]) == 10
    assert await js.patch(url, 10, DATA[10:size], Upload_Length=str(size)) == size
    assert (await client.get(url)).body == DATA[:size]
