"""The requests of reliability 5.2 as data: what is sent, byte for byte, and what may come of it.

`<open>`, `<done>`, `<part>`, `<whole>` and `<host>` stand for the ids of an upload that waits for 11 bytes, a finished
one, a finished partial one and a final one made of that, and for the server's own address. Bytes that are no UTF-8 are
written as surrogates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.web.test_core_ids import UNKNOWN
from tests.web.test_framing import FIRST, LINES, UPGRADES

BODY = "hello world"
FAR = 2**63 - 1
GOOD_ORIGIN = "https://good.example"
SETTINGS: dict[str, Any] = {
    "max_size": 2**40,
    "cors_allow_origin": [GOOD_ORIGIN],
    "network_timeout": 0.5,
    "checkpoint_bytes": 1,
}
"""Of the servers that are asked; quick to give up on a body, because aiohttp does not tell when its framing broke."""


class Attack(NamedTuple):
    """One request."""

    row: str
    """Of reliability 5.2."""
    what: str
    raw: str
    statuses: tuple[int, ...]
    closes: bool = False
    """The server must end the connection by itself."""
    stores: bool = False
    """It may change what is stored; nothing else may."""
    has: str = ""
    """Must be in the answer."""
    lacks: str = ""
    """Must not be in the answer."""


def request(first: str, *lines: str, defaults: tuple[str, ...] = (), body: str = "", version: str = "1.1") -> str:
    """Return a request; a default of which there is a line of the same name is left out."""
    given = {line.partition(":")[0].lower() for line in lines}
    kept = [line for line in ("Host: <host>", *defaults) if line.partition(":")[0].lower() not in given]
    return "\r\n".join([f"{first} HTTP/{version}", *kept, *(line for line in lines if line != "-"), "", body])


TUS = "Tus-Resumable: 1.0.0"
OFFSET = ("Content-Type: application/offset+octet-stream", "Upload-Offset: 0")


def post(*lines: str, body: str = "") -> str:
    return request("POST /files/", *lines, defaults=(TUS, "Content-Length: 0"), body=body)


def create(*lines: str) -> str:
    return post("Upload-Length: 5", *lines)


def patch(*lines: str, body: str = BODY, to: str = "<open>", verb: str = "PATCH", version: str = "1.1") -> str:
    framing = () if any(line.startswith("Transfer-Encoding") for line in lines) else (f"Content-Length: {len(body)}",)
    defaults = (TUS, *OFFSET, *framing)
    return request(f"{verb} /files/{to}", *lines, defaults=defaults, body=body, version=version)


def get(*lines: str, of: str = "<done>", method: str = "GET") -> str:
    return request(f"{method} /files/{of}", *lines)


def chunks(*pieces: str) -> str:
    return "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces)


def metadata(value: str) -> str:
    return create(f"Upload-Metadata: {value}")


def _numbers() -> Iterator[Attack]:
    wrong = ["-1", "+1", "1 1", "1_0", "1e3", "0x1", "\u0663", "\u00b2", "1.0", "1,1", "", "NaN"]
    for value in wrong:
        yield Attack("1", f"Upload-Length {value[:9]!r}", post(f"Upload-Length: {value}"), (400,))
    for value in (str(2**63), "9" * 5000):
        # Digits only, and more than the largest size: that is the better answer.
        yield Attack("1", f"Upload-Length {value[:9]}...", post(f"Upload-Length: {value}"), (413,))
    yield Attack("2", "Upload-Length 2^63-1", post(f"Upload-Length: {FAR}"), (413,), has="Tus-Max-Size: ")
    yield Attack("2", "the largest there may be", post(f"Upload-Length: {2**40}"), (201,), stores=True)
    yield Attack("3", "one too many", post(f"Upload-Length: {2**40 + 1}"), (413,), has=f"Tus-Max-Size: {2**40}")
    yield Attack("4", "length and promise", create("Upload-Defer-Length: 1"), (400,))
    yield Attack("4", "neither", post(), (400,))
    for value in ("2", "0", "true", "-1", "1 1"):
        yield Attack("4", f"Upload-Defer-Length {value}", post(f"Upload-Defer-Length: {value}"), (400,))
    far = patch("Upload-Offset: 1", f"Content-Length: {FAR}", body="")
    yield Attack("5", "offset 1 and 2^63-1 bytes", far, (409, 413))
    yield Attack("5", "2^63-1 bytes", patch(f"Content-Length: {FAR}", body=""), (413,))
    yield Attack("5", "one byte too long", patch(body=BODY + "!"), (413,))
    for value in ("1", "11", "12", str(FAR)):
        yield Attack("7", f"offset {value}", patch(f"Upload-Offset: {value}", body=""), (409,), has="Upload-Offset: 0")
    for value in ("-1", "+0", "0x0", "0_0", "\u0660", "\uff10", "", "0, 0", str(2**63), "9" * 5000):
        yield Attack("7", f"offset {value[:9]!r}", patch(f"Upload-Offset: {value}"), (400,))
    yield Attack("7", "two offsets", patch("Upload-Offset: 0", "Upload-Offset: 1"), (400,))
    over = patch("Transfer-Encoding: chunked", body=chunks(BODY + "!"))
    yield Attack("6", "a chunk that is too long", over, (413,), stores=True, has="Connection: close")
    over = patch("Transfer-Encoding: chunked", body=chunks(BODY, "!"))
    yield Attack("6", "a chunk too many", over, (413,), stores=True, has="Connection: close")


def _framing() -> Iterator[Attack]:
    for what, lines in LINES.items():
        body = BODY if "chunked" not in str(lines) else chunks(BODY, "")
        raw = request("PATCH /files/<open>", "Host: <host>", *lines, defaults=(TUS, *OFFSET), body=body)
        yield Attack("8", what, raw, (400,), closes=True)
    for what, first in FIRST.items():
        raw = patch().replace("PATCH /files/<open> HTTP/1.1", first.format(path="/files/<open>"))
        yield Attack("8", what, raw, (400,), closes=True)
    yield Attack("8", "no host", patch().replace("Host: <host>\r\n", ""), (400,), closes=True)
    for more in ("Connection: keep-alive", "Connection: close"):
        raw = patch("Transfer-Encoding: chunked", more, body=chunks(BODY, ""), version="1.0")
        yield Attack("9", f"HTTP/1.0 and chunked, {more}", raw, (400,), closes=True)
    far = "http://evil.example/files/"
    raw = create().replace("/files/", far, 1)
    yield Attack(
        "10", "another host's URL", raw, (201,), stores=True, has="Location: http://<host>/files/", lacks="evil"
    )
    yield Attack("10", "its upload", patch(body="").replace("/files/", far, 1), (204,))
    for verb in ("PATCH", "GET", "POST", "DELETE"):
        upgrade = [f"{name}: {value}" for name, value in UPGRADES["websocket"].items()]
        inside = request("DELETE /files/<done>", TUS)
        raw = patch(*upgrade, f"Content-Length: {len(inside)}", body=inside, verb=verb)
        yield Attack("11", f"upgrade by {verb}", raw, (400, 404, 426), closes=True)
    # Without the package for it, aiohttp refuses `br` by itself where a host application lets it unpack bodies.
    for coding in ("gzip", "deflate", "br", "x-gzip", "gzip, identity", "compress"):
        yield Attack("12", f"PATCH in {coding}", patch(f"Content-Encoding: {coding}"), (400, 415))
        raw = post(OFFSET[0], "Upload-Length: 11", f"Content-Encoding: {coding}", "Content-Length: 11", body=BODY)
        yield Attack("12", f"POST in {coding}", raw, (400, 415))
    for media in (
        "text/plain",
        "application/octet-stream",
        "",
        "application/offset+octet-stream2",
        "multipart/form-data",
    ):
        yield Attack("13", f"as {media!r}", patch(f"Content-Type: {media}"), (415,))
    for version in ("0.2.2", "99.99.99", "1.0", "1.0.0,0.2.2", ""):
        yield Attack("13", f"version {version!r}", patch(f"Tus-Resumable: {version}"), (412,), has="Tus-Version: 1.0.0")
    yield Attack("13", "no version", patch().replace(TUS + "\r\n", ""), (412,), has="Tus-Version: 1.0.0")
    yield Attack("14", "a header of 9 KB", patch(f"X-Long: {'x' * 9000}", body=""), (204,))
    yield Attack("14", "a header of 200 KB", patch(f"X-Long: {'x' * 200_000}"), (400, 431), closes=True)
    many = [f"X-{number}: x" for number in range(2000)]
    yield Attack("14", "2,000 headers", patch(*many), (400, 431), closes=True)
    yield Attack("14", "an URL of 9 KB", get(of="x" * 9000), (400, 404, 414))
    asking = ("Expect: 100-continue", "Content-Length: 11")
    for line, status in {"Upload-Offset: 7": 409, "Upload-Offset: x": 400, "Content-Length: 12": 413,
                         "Content-Type: text/plain": 415, "Tus-Resumable: 9.9.9": 412}.items():  # fmt: skip
        kept = [each for each in asking if each.partition(":")[0] != line.partition(":")[0]]
        yield Attack("15", f"asks with {line}", patch(*kept, line, body=""), (status,), closes=True, lacks="100 Cont")
    yield Attack("15", "asks for an unknown id", patch(*asking, body="", to=UNKNOWN), (404,), closes=True)
    large = post(*asking, OFFSET[0], f"Upload-Length: {2**41}")
    yield Attack("15", "asks for too large an upload", large, (413,), closes=True)
    yield Attack("15", "expects something else", patch("Expect: the-best", body=""), (417,))


IDS = ("../x", "%2e%2e%2f", "..%5c", "%00", "a%00b", "a%2fb", "%c0%ae", "%2e", "%2e%2e", "x.info", "x.tmp", "a" * 256,
       "%2fetc%2fpasswd", "a%0d%0aSet-Cookie:x", "%ff", "%zz", "..;/x", "<open>.info",
       "<open>%00", "%20<open>")  # fmt: skip
NOT_FOUND = "ERR_UPLOAD_NOT_FOUND: "


def _ids() -> Iterator[Attack]:
    for name in IDS:
        yield Attack("16", f"PATCH {name[:12]}", patch(to=name), (404,), has=NOT_FOUND)
        yield Attack("16", f"GET {name[:12]}", get(of=name), (404,), has=NOT_FOUND)
    for name in IDS[:4]:
        yield Attack("16", f"DELETE {name}", get(TUS, of=name, method="DELETE"), (404,), has=NOT_FOUND)
    yield Attack("16", "no id", patch(to=""), (404, 405))
    yield Attack(
        "22", "an id of one's own", create("Upload-Key: chosen", "Slug: chosen"), (201,), stores=True, lacks="chosen"
    )
    yield Attack("22", "a path of one's own", request("POST /files/chosen", TUS, "Upload-Length: 5"), (405,))


def _metadata() -> Iterator[Attack]:
    for value in ("k YQ", "k !!YQ==", "k YR==", "k YQ==,k Yg==", "k Y Q=="):
        yield Attack("23", value, metadata(value), (201,), stores=True)
    for value in (" YQ==\x01", "a\x01b YQ==", "a\tb YQ==", "a\x7f YQ==", "\u00e9 YQ==", "name \udce9", "a \uff21"):
        yield Attack("23b", repr(value), metadata(value), (400,))
    yield Attack("24", "65 pairs", metadata(",".join(f"k{number}" for number in range(65))), (400,))
    yield Attack("24", "more than 64 KiB", metadata("k" + "," * 65536), (400, 431))
    yield Attack("24", "a key of more than 1 KiB", metadata("k" * 1025 + " YQ=="), (400,))
    yield Attack(
        "53", "what regular expressions dislike", metadata("a" * 1000 + " " + "=" * 30_000), (201, 400), stores=True
    )
    yield Attack("53", "spaces", metadata("a YQ==," + " " * 60_000 + "!"), (201, 400), stores=True)
    yield Attack("53", "commas in Range", get(f"Range: bytes={'0-,' * 20_000}"), (200, 206, 400, 416, 431))
    yield Attack("53", "spaces in a checksum", patch(f"Upload-Checksum: sha1 {'A' * 60_000}!"), (400,))
    yield Attack("53", "semicolons in a type", patch(f"Content-Type: {'a;' * 30_000}"), (400, 415))
    # x"\r\nSet-Cookie: a=b, ../../x and bytes that are no text, as values: they are data.
    for value in ("eCINClNldC1Db29raWU6IGE9Yg==", "Li4vLi4veA==", "gP8A", "4oCuZ3BqLmV4ZQ=="):
        yield Attack("25", value, metadata(f"filename {value}"), (201,), stores=True, lacks="Set-Cookie")


def _downloads() -> Iterator[Attack]:
    yield Attack("28", "unfinished", get(of="<open>"), (404,), has=NOT_FOUND)
    yield Attack("28", "unknown", get(of=UNKNOWN), (404,), has=NOT_FOUND)
    for value, status in {"bytes=0-": 206, "bytes=-5": 206, "bytes=\u0660-": 200, "bytes=99-": 416, "bytes=5-2": 200,
                          "bytes=" + ",".join(["0-0"] * 1000): 200, "lines=0-": 200, f"bytes={FAR}-": 416,
                          "bytes=" + "9" * 5000 + "-": 416, "bytes=-0": 416}.items():  # fmt: skip
        allowed = (status, 200, 416) if len(value) > 1000 else (status,)
        yield Attack("29", f"Range {value[:16]}", get(f"Range: {value}"), allowed, lacks="multipart/byteranges")
    yield Attack("29", "If-Range of another", get("Range: bytes=0-1", 'If-Range: "x"'), (200,))


def _identity() -> Iterator[Attack]:
    for name in ("PUT", "CONNECT", "FOO", "PATCH, DELETE", "\u0130"):
        yield Attack("35", f"POST as {name}", patch(f"X-HTTP-Method-Override: {name}", verb="POST"), (405,))
    two = patch("X-HTTP-Method-Override: PATCH", "X-HTTP-Method-Override: DELETE", verb="POST")
    yield Attack("35", "POST as two", two, (400,))
    unsure = patch("X-HTTP-Method-Override: DELETE", "Tus-Resumable: 9.9.9", verb="POST")
    yield Attack("35", "POST as DELETE of another version", unsure, (412,))
    for verb in ("PUT", "FOO"):
        yield Attack("35", verb, patch(verb=verb), (400, 405))
    for listed in ("https://good.example.evil.com", "https://good.example:444", "http://good.example", "null",
                   "https://evil.com", f"{GOOD_ORIGIN}, https://evil.com", "*"):  # fmt: skip
        for raw in (patch(f"Origin: {listed}"), get(f"Origin: {listed}"), create(f"Origin: {listed}")):
            yield Attack("41", f"{raw[:5]} of {listed}", raw, (403,), has="Vary: Origin", lacks="Access-Control-Allow")
    preflight = request("OPTIONS /files/<open>", f"Origin: {GOOD_ORIGIN}", "Access-Control-Request-Method: PATCH")
    yield Attack("34", "preflight of an upload", preflight, (200,), has=f"Access-Control-Allow-Origin: {GOOD_ORIGIN}")
    yield Attack("34", "preflight of none", preflight.replace("<open>", UNKNOWN), (200,), has="Tus-Version: 1.0.0")
    for host in ("evil.example/x", "a b", "evil@x", "[::1", "x" * 300):
        yield Attack("46", f"Host {host[:9]}", create(f"Host: {host}"), (201, 400), stores=True, lacks="evil")
    for line in (
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: host=evil.example;proto=https",
    ):
        yield Attack("46", line[:18], create(line), (201,), stores=True, lacks="evil")
    yield Attack("47", "another's address", get("X-Forwarded-For: 1.2.3.4", "X-Real-IP: 1.2.3.4"), (200,))


CONCAT = {
    "final;/files/<open>": (400,),
    f"final;/files/{UNKNOWN}": (404,),
    "final;/files/<done>": (400,),
    "final;/files/<whole>": (400,),
    "final;/files/<part> /files/<open>": (400,),
    "final;/other/<part>": (400, 404),
    "final;/files/../../etc/passwd": (400, 404),
    "final;/files/%2e%2e%2fuploads.sqlite3": (400, 404),
    "final;/files/<part>%00": (400, 404),
    "final;file:///etc/passwd": (400, 404),
    "final;": (400,),
    "final": (400,),
    "PARTIAL": (400,),
}


def _concatenation() -> Iterator[Attack]:
    for value, statuses in CONCAT.items():
        yield Attack("38", value[:40], post(f"Upload-Concat: {value}"), statuses)
    again = post("Upload-Concat: final;http://evil.example/files/<part> <part>")
    yield Attack("38", "another host, and twice", again, (201,), stores=True, lacks="evil")
    yield Attack("39", "1,001 parts", post(f"Upload-Concat: final;{' '.join(['<part>'] * 1001)}"), (400,))
    yield Attack("39", "10,000 parts", post(f"Upload-Concat: final;{' '.join(['<part>'] * 10_000)}"), (400, 413, 431))
    for offset in ("0", "5", "99"):
        yield Attack("40", f"PATCH at {offset}", patch(f"Upload-Offset: {offset}", to="<whole>"), (403,))
    for line in ("Upload-Length: 5", "Upload-Defer-Length: 1"):
        yield Attack("40", line, post("Upload-Concat: final;<part>", line), (400,))


ATTACKS = [
    *_numbers(), *_framing(), *_ids(), *_metadata(), *_downloads(), *_identity(), *_concatenation(),
]  # fmt: skip
