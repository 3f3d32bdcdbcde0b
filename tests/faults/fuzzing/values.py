"""Values of header fields: good ones, ones at the borders, good ones with a few wrong characters, and junk."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from email.utils import formatdate
from random import Random

ID = "0123456789abcdef0123456789abcdef"
"""The id of an upload, where none has to exist."""

# What grammars are made of, what Python's own parsers take for digits or space, what no header may hold.
HOT = " \t,;:=\"'/\\%?#+-_.*@[]{}()<>&|^~09azAZ\0\r\n\x1b\x7f\x85\xa0\xe9\u0663\xb2\u202e\u2028\ufeff\U0001f535\udce9"
NUMBERS = (
    "-1", "+1", "1_0", "1e3", "0x1", "\u0663", "\xb2", "1.0", "1,1", "", "NaN", "inf", "9" * 5000, "00", "0" * 18 + "5",
    "0" * 20, "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", " 1", "1 ",
)  # fmt: skip
TEXTS = (
    "world.pdf", "", "x\"\r\nSet-Cookie: a=b", "../../x", "..", ".", "/", "C:\\a\\b", "\u202egpj.exe", "a\0b", "\ud7ff",
    "\U0001f535" * 300, "a" * 2000, "100%", "%0d%0a", "a;b=c", "s\u0142o\u0144ce", "~", " ", "\t", "\u2028", "-",
)  # fmt: skip
TYPES = (
    "image/png", "text/html", "text/plain; charset=utf-7", "text/plain;charset=\"a, b\"", "audio/ogg; codecs=opus",
    "a/b;",
    "TEXT/PLAIN", "text/plain\r\nX: 1", "/", "image/svg+xml", "text/plain; a=\"\\\"\"", "t/" + "x" * 260,
)  # fmt: skip


def number(random: Random) -> str:
    """A number of bytes, or nearly so."""
    return str(random.randrange(24)) if random.random() < 0.6 else random.choice(NUMBERS)


def encoded(random: Random, text: bytes) -> str:
    """Base64, mostly right."""
    good = base64.b64encode(text).decode()
    flaws: Sequence[str] = (good, good, good, good, good.rstrip("="), good + "=", "!!" + good, "YR==", good[:-1], "")
    return random.choice(flaws)


def text(random: Random) -> bytes:
    """A name as a client may send it."""
    if random.random() < 0.2:
        return random.randbytes(random.randrange(40))
    chosen = random.choice(TEXTS)
    return (mutated(random, chosen) if random.random() < 0.5 else chosen).encode("utf-8", "surrogatepass")


def metadata(random: Random) -> str:
    """An `Upload-Metadata` header."""
    pairs = []
    for _ in range(random.choice((0, 1, 1, 2, 3, 5, 70))):
        key = random.choice(("filename", "filetype", "name", "type", "filename", "", "k" * 1030, "a\tb", "\xe9", "x"))
        media = random.choice(TYPES).encode() if key.endswith("type") and random.random() < 0.8 else text(random)
        pairs.append(key if random.random() < 0.1 else f"{key} {encoded(random, media)}")
    return random.choice((",", ",", ", ", ",,")).join(pairs)


def reference(random: Random) -> str:
    """How a client may name an upload in a list of parts."""
    before = (
        "/files/",
        "",
        "http://h/files/",
        "https://h:1/x/files/",
        "//h/files/",
        "/files/../files/",
        "/x/",
        "files/",
    )
    after = ("", "", "", "/", "?a=/files/b", "#x", "/..", "%2f", ".info", ",", "//")
    return random.choice(before) + random.choice((ID, ID, "", "..", "a" * 129, "@part@")) + random.choice(after)


def concat(random: Random) -> str:
    """An `Upload-Concat` header."""
    if random.random() < 0.2:
        return random.choice(("partial", "final", "final;", "final; ", "Partial", "partial;", "final;partial"))
    count = random.choice((1, 1, 2, 3, 1001 if random.random() < 0.05 else 4))
    joint = random.choice((" ", " ", " ", "  ", ",", "\t"))
    return "final;" + random.choice(("", "", " ")) + joint.join(reference(random) for _ in range(count))


def checksum(random: Random) -> str:
    """An `Upload-Checksum` header; now and then the right one of a small body."""
    name = random.choice(("sha1", "sha256", "md5", "sha512", "crc32", "SHA1", "sha-1", ""))
    return f"{name}{random.choice((' ', ' ', ' ', '  ', '', chr(9)))}{encoded(random, random.randbytes(20))}"


def host(random: Random) -> str:
    """A host with or without port."""
    names = (
        "h",
        "127.0.0.1",
        "[::1]",
        "tus.io",
        "[",
        "a b",
        "a\r\nb",
        "-",
        "x" * 254,
        "u@h",
        "h/p",
        "\xe9",
        "[::1%25a]",
    )
    return random.choice(names) + random.choice(("", "", ":80", ":443", ":", ":99999", ":0x50", ":8o"))


def forwarded(random: Random) -> str:
    """A `Forwarded` header."""
    names = ("for", "host", "proto", "by", "HOST", "h ost")
    pairs = []
    for _ in range(random.randrange(4)):
        value = random.choice((host(random), f'"{host(random)}"', "https", "http", "_x", '"', ""))
        pairs.append(f"{random.choice(names)}={value}")
    return random.choice((";", ";", ",", "; ", "")).join(pairs)


def span(random: Random) -> str:
    """A `Range` header."""
    unit = random.choice(("bytes=", "bytes=", "bytes=", "bytes = ", "Bytes=", "items=", ""))
    spans = (f"{number(random)}-{number(random)}" for _ in range(random.choice((1, 1, 1, 2, 40))))
    return unit + random.choice((",", ", ")).join(random.choice((each, each, "-" + number(random))) for each in spans)


def date(random: Random) -> str:
    """A date as HTTP has it, or nearly so."""
    good = formatdate(random.choice((0, 1, 1_700_000_000, 253402300799, 4_000_000_000)), usegmt=True)
    year = random.choice(("9999999999", "0", "99", "-1", "9" * 30))
    return random.choice((good, good, good.replace("1970", year), good.replace("2023", year), mutated(random, good)))


def tag(random: Random) -> str:
    """An entity tag, or some."""
    return random.choice(
        ("*", '"x"', 'W/"x"', f'"{ID}-a"', f'"a", W/"{ID}-a"', '"', "x", '"a"b"', ", ," * 500, '"",' * 500)
    )


VALID: dict[str, Callable[[Random], str]] = {
    "Tus-Resumable": lambda r: r.choice(("1.0.0", "1.0.0", "1.0.0, 1.0.0", "0.2.2", "1.0.0,", "")),
    "Upload-Length": number,
    "Upload-Offset": number,
    "Upload-Defer-Length": lambda r: r.choice(("1", "1", "1", "0", "2", "01", "true", "")),
    "Upload-Checksum": checksum,
    "Upload-Metadata": metadata,
    "Upload-Concat": concat,
    "Upload-Draft-Interop-Version": lambda r: r.choice(("6", "")),
    "Upload-Complete": lambda r: r.choice(("?0", "?1")),
    "Content-Type": lambda r: r.choice(
        ("application/offset+octet-stream", "application/offset+octet-stream;x=y", "a/b")
    ),
    "Content-Encoding": lambda r: r.choice(("identity", "gzip", "deflate", "identity, br", "", "zstd")),
    "Content-Length": number,
    "Transfer-Encoding": lambda r: r.choice(
        ("chunked", "chunked, chunked", "gzip, chunked", "xchunked", "identity", "")
    ),
    "Expect": lambda r: r.choice(("100-continue", "100-Continue", "200-ok", "100-continue, x", "")),
    "Trailer": lambda r: r.choice(("Upload-Checksum", "X, upload-checksum", "X")),
    "Upgrade": lambda r: r.choice(("websocket", "h2c", "WebSocket ")),
    "Connection": lambda r: r.choice(("close", "keep-alive", "Upgrade", "close, Upgrade", "Host")),
    "X-HTTP-Method-Override": lambda r: r.choice(
        ("PATCH", "DELETE", "HEAD", "get", "PUT", "FOO", "OPTIONS", "", "POST")
    ),
    "X-Forwarded-Host": host,
    "X-Forwarded-Proto": lambda r: r.choice(("https", "http", "HTTPS", "ftp", "https, http", "javascript", "")),
    "X-Forwarded-For": lambda r: r.choice(("1.2.3.4", "::1", "x", "1.2.3.4, 5.6.7.8")),
    "X-Forwarded-Prefix": lambda r: r.choice(("/a", "/a/b/", "//evil", "/..", "/a\r\nb", "a", "/%2e", "/", "/a,/b")),
    "Forwarded": forwarded,
    "Via": lambda r: r.choice(("1.1 x", "")),
    "Range": span,
    "If-Range": lambda r: r.choice((date, tag))(r),
    "If-None-Match": tag,
    "If-Modified-Since": date,
    "Origin": lambda r: r.choice(
        ("null", "*", "", "https://a.example.com", "https://a.example.com.evil.org", "http://h")
    ),
    "Access-Control-Request-Method": lambda r: r.choice(("PATCH", "x")),
    "Host": host,
    "Authorization": lambda r: r.choice(("Basic eDp5", "Basic !", "Bearer")),
    "Cookie": lambda r: r.choice(("a=b", "a=b; =", '"')),
}
NAMES = tuple(VALID)


def mutated(random: Random, good: str) -> str:
    """The same text with one to three wrong places."""
    for _ in range(random.choice((1, 1, 2, 3))):
        start = random.randrange(len(good) + 1)
        end = min(len(good), start + random.choice((0, 0, 1, 1, 4)))
        good = good[:start] + random.choice((random.choice(HOT), "", good[start:end] * 2)) + good[end:]
    return good


def junk(random: Random) -> str:
    """Any text, lone surrogates included."""
    return "".join(
        random.choice(HOT) if random.random() < 0.6 else chr(random.randrange(0x300))
        for _ in range(random.randrange(30))
    )


def value_of(random: Random, name: str) -> str:
    """A value for a header field."""
    kind = random.random()
    if kind < 0.5:
        return VALID[name](random)
    if kind < 0.8:
        return mutated(random, VALID[name](random))
    return VALID[random.choice(NAMES)](random) if kind < 0.9 else junk(random)


def fields(random: Random, *names: str) -> list[tuple[str, str]]:
    """Some of these fields, a few of others, in any order, a few of them twice."""
    chosen = [name for name in names if random.random() < 0.7]
    chosen += [random.choice(NAMES) for _ in range(random.choice((0, 0, 1, 2)))]
    chosen += [random.choice(chosen)] if chosen and random.random() < 0.15 else []
    random.shuffle(chosen)
    return [(name, value_of(random, name)) for name in chosen]
