"""What clients in Swift, Java, Go, PHP and shell send, and what they need to get (protocol section 14)."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.client import Client
from tests.support.servers import Target
from tests.support.state import nothing_created, unchanged
from tests.support.wire import Wire

DATA = b"hello worlds"
APPLE = {"Accept": "*/*", "Accept-Language": "en", "Cache-Control": "no-cache", "TUS-Resumable": "1.0.0"}
DRAFTS = {
    "none": {},
    "iOS 17": {"Upload-Incomplete": "?0", "Upload-Draft-Interop-Version": "3"},
    "iOS 18": {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"},
    "iOS 26": {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"},
}


@pytest.mark.parametrize("extra", DRAFTS.values(), ids=DRAFTS)
async def test_tuskit(client: Client, extra: dict[str, str]) -> None:
    """TUSKit's PATCH may carry headers of the IETF draft beside its own: tus 1.0.0 counts. (section 14: TUSKit)"""
    options = await client.send("OPTIONS", None, APPLE)
    assert {"creation", "termination"} <= set(options.headers["Tus-Extension"].split(","))
    headers = {**APPLE, "Upload-Extension": "creation", "Upload-Length": str(len(DATA))}
    headers["Upload-Metadata"] = "fileName d29ybGQucGRm, filetype dGV4dA=="
    created = await client.send("POST", None, headers)
    assert 200 <= created.status < 300
    url = urljoin(client.base, created.headers["Location"])
    for offset in (0, 6):
        head = await client.send("HEAD", url, APPLE)
        assert (int(head.headers["Upload-Offset"]), int(head.headers["Upload-Length"])) == (offset, len(DATA))
        chunk = DATA[offset : offset + 6]
        headers = {**APPLE, **extra, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        async with await Wire.open(url) as wire:
            wire.start("PATCH", url, {**headers, "Content-Length": str(len(chunk))})
            wire.send(chunk)
            # The first answer is the only one: no 104.
            answer = await wire.answer()
        assert answer.status == 204
        assert int(answer.headers["Upload-Offset"]) == offset + 6
        assert "Upload-Complete" not in answer.headers
        assert "Upload-Draft-Interop-Version" not in answer.headers
    assert (await client.get(url)).body == DATA


async def test_tuskit_with_a_doubled_version(client: Client) -> None:
    """Headers that are added twice come merged; the version still counts. (section 14: TUSKit, CORE-VER-07)"""
    headers = {**APPLE, "TUS-Resumable": "1.0.0,1.0.0", "Upload-Extension": "creation", "Upload-Length": "5"}
    assert (await client.send("POST", None, headers)).status == 201


JAVA = {
    "Tus-Resumable": "1.0.0",
    "User-Agent": "Java/17.0.9",
    "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    "Connection": "keep-alive",
}


@pytest.mark.parametrize("pieces", [[DATA], [DATA[:5], DATA[5:]]], ids=["one chunk", "two chunks"])
async def test_tus_java_client(client: Client, pieces: list[bytes]) -> None:
    """A desktop JRE sends PATCH as POST, chunked, and waits for 100 Continue. (section 14: tus-java-client)"""
    form = {"Content-type": "application/x-www-form-urlencoded", "Content-Length": "0"}
    created = await client.send("POST", None, {**JAVA, **form, "Upload-Length": str(len(DATA))})
    assert 200 <= created.status < 300
    url = urljoin(client.base, created.headers["Location"])
    head = await client.send("HEAD", url, JAVA)
    assert 200 <= head.status < 300
    headers = {
        **JAVA,
        "Upload-Offset": head.headers["Upload-Offset"],
        "Content-Type": "application/offset+octet-stream",
        "Expect": "100-continue",
        "X-HTTP-Method-Override": "PATCH",
        "Transfer-Encoding": "chunked",
    }
    async with await Wire.open(url) as wire:
        wire.start("POST", url, headers)
        assert (await wire.answer()).status == 100
        for piece in pieces:
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await wire.flush()
        wire.send(b"0\r\n\r\n")
        answer = await wire.answer()
    assert 200 <= answer.status < 300
    assert answer.headers["Upload-Offset"] == str(len(DATA))
    assert (await client.get(url)).body == DATA


async def test_tus_java_client_starts_again_after_404(client: Client) -> None:
    """Only 404 on HEAD makes the Java client create a new upload. (section 14: tus-java-client)"""
    url = await client.create(5)
    await client.delete(url)
    assert (await client.send("HEAD", url, JAVA)).status == 404


async def test_rclone(client: Client, server: Target) -> None:
    """Client rclone takes 201 and 204 only, and sends a `filetype` header of its own. (section 14: rclone)"""
    rclone = {"User-Agent": "rclone/v1.70.0", "Accept-Encoding": "gzip", "Tus-Resumable": "1.0.0"}
    metadata = "filename d29ybGQucGRm,mtime MTcwMDAwMDAwMA==,filetype dGV4dC9wbGFpbg=="
    headers = {**rclone, "Upload-Length": "12", "Upload-Metadata": metadata, "Content-Length": "0"}
    created = await client.send("POST", None, headers)
    assert created.status == 201
    parts = urlsplit(created.headers["Location"])
    url = f"{parts.scheme}://{parts.netloc}{parts.path}"
    for offset in (0, 5, 10):
        chunk = DATA[offset : offset + 5]
        headers = {**rclone, "Upload-Offset": str(offset), "filetype": "text/plain", "Content-Length": str(len(chunk))}
        headers["Content-Type"] = "application/offset+octet-stream"
        answer = await client.send("PATCH", url, headers, chunk)
        assert answer.status == 204
        assert int(answer.headers["Upload-Offset"]) == offset + len(chunk)
        async with unchanged(client, server, url):
            assert (await client.send("PATCH", url, headers, chunk)).status == 409
    assert (await client.get(url)).body == DATA


async def test_rclone_final_statuses(client: Client, server: Target, start_server, client_of) -> None:
    """409, 412 and 413 are what makes rclone stop with the right message. (section 14: rclone)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        assert (await client.patch(url, 3, b"hello")).status == 409
        assert (await client.patch(url, 0, b"hello", {"Tus-Resumable": "0.2.2"})).status == 412
        assert (await client.patch(url, 0, b"hello!")).status == 413
    small = client_of(await start_server(max_size=10))
    assert (await small.post({"Upload-Length": "11"})).status == 413


async def test_tusgo(client: Client) -> None:
    """Client tusgo takes 200, 201 and 204 only, and wants Tus-Resumable on all of them. (section 14: tusgo)"""
    tusgo = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip", "Tus-Resumable": "1.0.0"}
    options = await client.send("OPTIONS", None, {"User-Agent": "Go-http-client/1.1"})
    assert options.status in (200, 204)
    assert options.headers["Tus-Resumable"] == "1.0.0"
    extensions = options.headers["Tus-Extension"].split(",")
    assert {"creation", "creation-defer-length", "termination", "concatenation"} <= set(extensions)
    # It would send the checksum in a trailer.
    assert "checksum-trailer" not in extensions
    assert "concatenation-unfinished" not in extensions
    created = await client.send("POST", None, {**tusgo, "Content-Length": "0", "Upload-Length": "12"})
    assert created.status == 201
    # Go's time.RFC1123.
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \w{3}", created.headers["Upload-Expires"])
    assert parsedate_to_datetime(created.headers["Upload-Expires"]).tzinfo is not None
    url = urljoin(client.base, created.headers["Location"])
    for offset in (0, 6):
        headers = {**tusgo, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        answer = await client.send("PATCH", url, {**headers, "Content-Length": "6"}, DATA[offset : offset + 6])
        assert answer.status == 204
        assert int(answer.headers["Upload-Offset"]) == offset + 6
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        head = await client.send("HEAD", url, tusgo)
        assert head.status == 200
        assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == (str(offset + 6), "12")
    deleted = await client.send("DELETE", url, tusgo)
    assert deleted.status == 204
    assert deleted.headers["Tus-Resumable"] == "1.0.0"
    assert (await client.send("HEAD", url, tusgo)).status in (404, 410)


async def test_tusgo_sets_the_size_with_the_first_chunk(client: Client) -> None:
    """Client tusgo may declare a deferred length with the PATCH at offset zero. (section 14: tusgo)"""
    tusgo = {"User-Agent": "Go-http-client/1.1", "Tus-Resumable": "1.0.0"}
    created = await client.send("POST", None, {**tusgo, "Content-Length": "0", "Upload-Defer-Length": "1"})
    url = created.headers["Location"]
    headers = {**tusgo, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0", "Upload-Length": "12"}
    assert (await client.send("PATCH", url, headers, DATA[:6])).status == 204
    head = await client.send("HEAD", url, tusgo)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("6", "12")


async def test_tusc_creates(client: Client) -> None:
    """tusc.sh sends the checksum of the whole file, base64 of hexadecimal, on an empty POST. (section 14: tusc.sh)"""
    checksum = b64encode(hashlib.sha1(DATA).hexdigest().encode()).decode()
    curl = {"User-Agent": "curl/8.5.0", "Accept": "*/*", "Tus-Resumable": "1.0.0", "Content-Length": "0"}
    headers = {**curl, "Upload-Length": "12", "Upload-Checksum": f"sha1 {checksum}", "Upload-Metadata": "filename eA=="}
    created = await client.send("POST", None, headers)
    assert created.status == 201
    # Without its framing, its PATCH of a whole file is fine too.
    headers = {**curl, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    headers |= {"Content-Length": "12", "Upload-Checksum": f"sha1 {checksum}"}
    assert (await client.send("PATCH", created.headers["Location"], headers, DATA)).status == 204


async def test_tusc_framing_is_refused(start_server, client_of) -> None:
    """tusc.sh sends Content-Length and chunks in one request: refused cleanly, nothing stored. (section 14: tusc.sh)"""
    # A server of its own: what the parser refuses must not be worth a traceback in the log either.
    target: Target = await start_server()
    client = client_of(target)
    url = await client.create(12)
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    async with unchanged(client, target, url), await Wire.open(url) as wire:
        wire.start("PATCH", url, {**headers, "Content-Length": "12", "Transfer-Encoding": "chunked"})
        wire.send(b"c\r\n" + DATA + b"\r\n0\r\n\r\n")
        assert (await wire.answer()).status == 400
        await wire.closed()


async def test_tus_php_is_refused(client: Client, server: Target) -> None:
    """The client of tus-php speaks no version: 412 says so, and nothing is made or changed. (section 14: tus-php)"""
    url = await client.create(12)
    key = {"User-Agent": "GuzzleHttp/7", "Upload-Key": "b7a9f0c2-1f1c-4c53-a4fb-9a4ea6b0d5e7"}
    with nothing_created(server):
        headers = {**key, "Upload-Length": "12", "Upload-Checksum": "eA==", "Upload-Metadata": "filename eA=="}
        answer = await client.send("POST", None, headers)
        assert answer.status == 412
        assert answer.headers["Tus-Version"] == "1.0.0"
    async with unchanged(client, server, url):
        headers = {**key, "Content-Type": "application/offset+octet-stream", "Upload-Checksum": "eA=="}
        assert (await client.send("PATCH", url, headers, DATA)).status == 412
