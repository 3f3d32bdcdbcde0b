"""Requests as bytes: good ones, and what becomes of them when a few bytes are wrong.

Names in `@` stand for what a server has: `@host@`, `@open@` (5 of 20 bytes), `@deferred@`, `@done@`, `@part@`.
"""

from __future__ import annotations

import base64
import hashlib
from random import Random

from tests.faults.fuzzing.values import NAMES, value_of

BODY = b"hello"
DIGEST = base64.b64encode(hashlib.sha1(BODY).digest()).decode()
T = "Tus-Resumable: 1.0.0"
CT = "Content-Type: application/offset+octet-stream"


def request(line: str, *lines: str, body: bytes = b"") -> bytes:
    """Return a whole request."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: @host@", *lines, "Connection: close", "", ""]).encode() + body


GOOD: tuple[bytes, ...] = (
    request("OPTIONS /files/", "Origin: http://a.example", "Access-Control-Request-Method: PATCH"),
    request("POST /files/", T, "Upload-Length: 20", "Upload-Metadata: filename d29ybGQucGRm,is_secret"),
    request("POST /files/", T, CT, "Upload-Length: 20", "Content-Length: 5", body=BODY),
    request("POST /files/", T, "Upload-Defer-Length: 1", "X-Forwarded-Host: tus.io", "X-Forwarded-Proto: https"),
    request(
        "POST /files", T, "Upload-Concat: final;/files/@part@ http://@host@/files/@part@", "Forwarded: host=tus.io"
    ),
    request("POST /files/", T, "Upload-Concat: partial", "Upload-Length: 0"),
    request("PATCH /files/@open@", T, CT, "Upload-Offset: 5", "Content-Length: 5", body=BODY),
    request(
        "PATCH /files/@open@",
        T,
        CT,
        "Upload-Offset: 5",
        "Content-Length: 5",
        f"Upload-Checksum: sha1 {DIGEST}",
        body=BODY,
    ),
    request(
        "PATCH /files/@open@",
        T,
        CT,
        "Upload-Offset: 5",
        "Transfer-Encoding: chunked",
        body=b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n",
    ),
    request("PATCH /files/@deferred@", T, CT, "Upload-Offset: 5", "Upload-Length: 10", "Content-Length: 5", body=BODY),
    request("PATCH /files/@open@", T, CT, "Upload-Offset: 5", "Content-Length: 5", "Expect: 100-continue", body=BODY),
    request(
        "POST /files/@open@", T, CT, "X-HTTP-Method-Override: PATCH", "Upload-Offset: 5", "Content-Length: 5", body=BODY
    ),
    request("HEAD /files/@open@", T),
    request("DELETE /files/@open@", T, "Content-Length: 0"),
    request("GET /files/@done@", "Range: bytes=2-5"),
    request("GET /files/@done@?a=b", 'If-None-Match: "x"', "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"),
    request("GET http://@host@/files/@done@", "Range: bytes=-3", 'If-Range: "x"'),
)
"""Each of them is answered with 2xx."""

TARGETS = (
    "/", "*", "", "/files", "/files//", "/files/../files/", "/files/%2e%2e/x", "/files/..%5cx",
    "/files/a%2fb", "//files/",
    "/files/%00", "/files/%c0%ae", "/files/x.info", "/files/" + "a" * 300, "/files/" + "a" * 9000, "/Files/", "files/",
    "http://evil/files/", "http://[::1/files/", "https://evil:99999/files/", "javascript:1",
    "/files/?x#y", "/files/;x=1",
    "/%66iles/", "/files/\xe9", "/files/%ff", "/files/ x", "/files/@open@/", "/files/@open@%20",
    "/files/@done@?" + "q" * 99,
    "host:80", "[::1", "/files/%", "/files/%zz", "\\files\\", "/files/\x01", "/\udce9", "/health",
    "/files/@open@/@open@",
)  # fmt: skip
LINES = (
    "Host: evil", "Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked", " folded: 1", "\tfolded",
    "no colon",
    ": empty", "X : space", "X-Zero: a\0b", "X-Control: a\x01b", "X-High: \xff", "Upload-Offset: 6",
    "Upload-Length: 21",
    "Tus-Resumable: 0.2.2", "X" * 9000 + ": 1", "X: " + "x" * 140_000, "Connection: Upgrade", "Upgrade: websocket",
)  # fmt: skip
BREAKS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n\r\n", b"\r\n ", b"\0\r\n", b"\x0b\r\n", b"\x85")


def flawed(random: Random) -> bytes:
    """A good request that something happened to."""
    raw = random.choice(GOOD)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
        raw = random.choice(FLAWS)(random, raw)
    return raw


def _other_value(random: Random, raw: bytes) -> bytes:
    head, end, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    place = random.randrange(1, len(lines)) if len(lines) > 1 else 0
    name = lines[place].partition(b":")[0].decode("latin-1")
    if name in NAMES:
        lines[place] = f"{name}: {value_of(random, name)}".encode("utf-8", "surrogateescape")
    return b"\r\n".join(lines) + end + body


def _more_fields(random: Random, raw: bytes) -> bytes:
    first, _, rest = raw.partition(b"\r\n")
    name = random.choice(NAMES)
    line = f"{name}: {value_of(random, name)}" if random.random() < 0.7 else random.choice(LINES)
    return first + b"\r\n" + line.encode("utf-8", "surrogateescape") + b"\r\n" + rest


def _other_line(random: Random, raw: bytes) -> bytes:
    first, rest = raw[: raw.find(b"\r")], raw[raw.find(b"\r") :]
    method, _, others = first.partition(b" ")
    target, _, version = others.partition(b" ")
    match random.randrange(3):
        case 0:
            method = random.choice(
                (b"PATCH", b"PUT", b"get", b"FOO", b"CONNECT", b"TRACE", b"HEAD", b"", b"GE T", b"PRI")
            )
        case 1:
            target = random.choice(TARGETS).encode("utf-8", "surrogateescape")
        case _:
            version = random.choice(
                (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b"", b"HTTP/1.1 ")
            )
    return b" ".join((method, target, version)) + rest


def _flip(random: Random, raw: bytes) -> bytes:
    place = random.randrange(max(len(raw), 1))
    return (
        raw[:place] + bytes([byte ^ (1 << random.randrange(8)) for byte in raw[place : place + 1]]) + raw[place + 1 :]
    )


def _insert(random: Random, raw: bytes) -> bytes:
    place = random.randrange(len(raw) + 1)
    some = random.choice((b"\0", b" ", b"\t", b",", b"\r\n", b"\n", b"\xff", b":", b"0", random.randbytes(3)))
    return raw[:place] + some + raw[place:]


def _delete(random: Random, raw: bytes) -> bytes:
    place = random.randrange(len(raw) + 1)
    return raw[:place] + raw[place + random.choice((1, 1, 2, 10)) :]


def _lines(random: Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    place = random.randrange(len(lines))
    match random.randrange(3):
        case 0:
            lines.insert(random.randrange(len(lines) + 1), lines[place])
        case 1:
            del lines[place]
        case _:
            return b"\r\n".join(lines[:place]) + random.choice(BREAKS) + b"\r\n".join(lines[place:])
    return b"\r\n".join(lines)


def _cut(random: Random, raw: bytes) -> bytes:
    return raw[: random.randrange(len(raw) + 1)]


def _two(random: Random, raw: bytes) -> bytes:
    return raw.replace(b"Connection: close\r\n", b"") + random.choice(GOOD)


FLAWS = (
    _other_value,
    _other_value,
    _other_value,
    _more_fields,
    _more_fields,
    _other_line,
    _flip,
    _insert,
    _delete,
    _lines,
    _cut,
    _two,
)
