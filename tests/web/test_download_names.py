"""What a download says it is: media type, file name, and how little of it a browser may believe.

Clients write the metadata, other people's browsers read the answer (protocol GET-05 to GET-11).
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

import pytest

from tests.support.client import Answer, Client
from tests.support.wire import Wire

PNG = {"filetype": "image/png"}

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_EXTENDED = r"[A-Za-z0-9!#$&+.^_`|~%-]*"
_DISPOSITION = re.compile(rf"(inline|attachment)(?:; ?filename={_QUOTED})?(?:; ?filename\*=UTF-8''({_EXTENDED}))?")


def metadata(**pairs: str | bytes) -> str:
    """Return an Upload-Metadata header."""
    encoded = {key: value if isinstance(value, bytes) else value.encode() for key, value in pairs.items()}
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in encoded.items())


async def fetch(client: Client, **pairs: str | bytes) -> Answer:
    """Upload a file with this metadata and download it; what must always hold, holds (GET-11, row 27)."""
    url = await client.upload(b"<script>alert(1)</script>", Upload_Metadata=metadata(**pairs))
    answer = await client.get(url)
    assert (answer.status, answer.body) == (200, b"<script>alert(1)</script>")
    headers = answer.headers
    assert headers.getall("X-Content-Type-Options") == ["nosniff"]
    assert headers.getall("Content-Security-Policy") == ["default-src 'none'; sandbox"]
    assert headers.getall("Cross-Origin-Resource-Policy") == ["same-origin"]
    assert headers.getall("Referrer-Policy") == ["no-referrer"]
    assert len(headers.getall("Content-Type")) == len(headers.getall("Content-Disposition")) == 1
    assert {"set-cookie", "x-evil"}.isdisjoint(name.lower() for name in headers)
    return answer


def parse(disposition: str) -> tuple[str, str | None, str | None]:
    """Return kind, ASCII name and real name of a Content-Disposition that is well formed (RFC 6266)."""
    assert disposition.isascii()
    assert disposition.isprintable()
    match = _DISPOSITION.fullmatch(disposition)
    assert match, disposition
    kind, plain, extended = match.groups()
    plain = None if plain is None else re.sub(r"\\(.)", r"\1", plain)
    return kind, plain, None if extended is None else unquote_to_bytes(extended).decode()


async def test_no_metadata(client: Client) -> None:
    """A file of which nothing is known is bytes to be saved. (GET-05)"""
    answer = await client.get(await client.upload(b"hello"))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment"


async def test_harmless_type_with_a_name(client: Client) -> None:
    """An image may be shown, under its name. (GET-06)"""
    answer = await fetch(client, filetype="image/png", filename="pet.png")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'inline;filename="pet.png"'


@pytest.mark.parametrize(
    "filetype",
    ["text/plain", "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "audio/wave", "audio/wav",
     "audio/x-wav", "audio/x-pn-wav", "audio/webm", "audio/ogg", "video/mp4", "video/webm", "video/ogg",
     "application/ogg", "audio/ogg; codecs=opus", "TEXT/PLAIN", "text/plain; charset=utf-8", "text/plain;charset=utf-8",
     'audio/ogg; codecs="opus, vorbis"', "Image/PNG"],
)  # fmt: skip
async def test_types_that_are_shown(client: Client, filetype: str) -> None:
    """The allowed types are shown, whatever their case and parameters, and keep what was declared. (GET-06, GET-08)"""
    answer = await fetch(client, filetype=filetype)
    assert answer.headers["Content-Type"] == filetype
    assert answer.headers["Content-Disposition"] == "inline"


@pytest.mark.parametrize(
    "filetype",
    ["text/html", "image/svg+xml", "application/pdf", "application/zip", "application/xml", "text/xml",
     "application/xhtml+xml", "text/javascript", "application/javascript", "text/css", "text/html; charset=utf-8",
     "application/x-shockwave-flash", "text/plain-x", "x-image/png", "multipart/x-mixed-replace; boundary=a"],
)  # fmt: skip
async def test_types_that_are_saved(client: Client, filetype: str) -> None:
    """Any other type is kept but saved, not shown: it could run scripts. (GET-07, row 27)"""
    answer = await fetch(client, filetype=filetype, filename="a.html")
    assert answer.headers["Content-Type"] == filetype
    assert answer.headers["Content-Disposition"] == 'attachment;filename="a.html"'


async def test_utf_7_is_saved(client: Client) -> None:
    """A charset in which plain text may be markup is not shown. (row 27)"""
    answer = await fetch(client, filetype="text/plain; charset=utf-7")
    assert answer.headers["Content-Disposition"] == "attachment"


@pytest.mark.parametrize(
    "filetype",
    ["text/plain; invalid-param", "non a valid mime", "text/html\r\nX-Evil: 1", "text/plain\nX-Evil: 1",
     "text/plain, text/html", "text/plain;", "text/", "/png", "png", "", "*/*;q=x y", "text/plain; a=\"b\r\nc\"",
     "text/plain\x00", "text/pla\u0131n", "t" * 10240 + "/x", "text/plain; x=" + "y" * 10240, b"text/plain\xff",
     "text/plain; charset=\"a\u0142\""],
    ids=lambda filetype: ascii(filetype)[:26],
)  # fmt: skip
async def test_types_that_are_none(client: Client, filetype: str | bytes) -> None:
    """What is no media type is not repeated: bytes, to be saved. No header is split. (GET-09)"""
    answer = await fetch(client, filetype=filetype)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment"


@pytest.mark.parametrize(
    ("filename", "real"),
    [
        ("pet.png", "pet.png"),
        ("my holiday (1).png", "my holiday (1).png"),
        ("it's.txt", "it's.txt"),
        ('a"b.txt', 'a"b.txt'),
        ("100%.txt", "100%.txt"),
        ("a;b=c.txt", "a;b=c.txt"),
        ("s\u0142o\u0144ce.txt", "s\u0142o\u0144ce.txt"),
        ("\U0001f535.txt", "\U0001f535.txt"),
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("x\r\nSet-Cookie: a", "xSet-Cookie: a"),
        ('x"\r\nSet-Cookie: a=b', 'x"Set-Cookie: a=b'),
        ("a\x00b\x1b[31m.txt", "ab[31m.txt"),
        ("txt.\u202egpj.exe", "txt.gpj.exe"),
        ("%0d%0aSet-Cookie: a", "%0d%0aSet-Cookie: a"),
    ],
    ids=lambda value: ascii(value)[1:22],
)
async def test_names(client: Client, filename: str, real: str) -> None:
    """A name arrives as it is, without its path and without what no name has, in one well-formed header.

    (GET-10, reliability 5.2 row 25)
    """
    answer = await fetch(client, filename=filename, **PNG)
    kind, plain, extended = parse(answer.headers["Content-Disposition"])
    assert (kind, extended or plain) == ("inline", real)
    assert plain is not None, "old clients read the plain name only"
    assert not {"/", "\\", '"'} & set(plain)


async def test_backslash_is_no_separator_everywhere(client: Client) -> None:
    """Whatever is made of a backslash, no client is told to save anything outside of its folder. (GET-10)"""
    answer = await fetch(client, filename='a"b\\c.txt', **PNG)
    _, plain, extended = parse(answer.headers["Content-Disposition"])
    assert "\\" not in (plain or "")
    assert "\\" not in (extended or "")
    assert (extended or plain or "").endswith("c.txt")


@pytest.mark.parametrize(
    "filename", [b"\xff\xfe.txt", b"\xed\xa0\x80.txt", b"\xc3", "x" * 10240 + ".txt", "\u0142" * 10240, "/", "..", ".",
                 "\r\n", "\u202e", "\ufeff", ""],
    ids=lambda filename: ascii(filename)[:20],
)  # fmt: skip
async def test_names_that_are_none(client: Client, filename: str | bytes) -> None:
    """Broken, empty and endless names leave a well-formed header, and the download works. (GET-10, row 25)"""
    answer = await fetch(client, filename=filename, **PNG)
    kind, plain, extended = parse(answer.headers["Content-Disposition"])
    assert kind == "inline"
    for name in (plain, extended):
        assert name is None or (0 < len(name) <= 1024 and "/" not in name and name not in ("..", "."))


async def test_name_of_other_clients(client: Client) -> None:
    """Uppy says `name` and `type`, others `filename` and `filetype`: the first of those is understood. (GET-06)"""
    answer = await fetch(client, name="pet.png")
    assert answer.headers["Content-Disposition"] == 'attachment;filename="pet.png"'
    answer = await fetch(client, name="other.png", filename="pet.png")
    assert answer.headers["Content-Disposition"] == 'attachment;filename="pet.png"'


@pytest.mark.parametrize("pair", ["filetype", "filename", "filetype,filename", "filetype YR==,filename !!YQ=="])
async def test_odd_metadata(client: Client, pair: str) -> None:
    """Metadata without values, or with values that are no base64, say nothing about the file. (GET-05, row 23)"""
    url = await client.upload(b"hello", Upload_Metadata=pair)
    answer = await client.get(url)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert parse(answer.headers["Content-Disposition"])[0] == "attachment"


async def test_raw_header_block(client: Client) -> None:
    """On the wire, too, line breaks in a name and a type make no new header. (GET-09, GET-10, row 25)"""
    evil = "x\r\nSet-Cookie: a=b\r\n\r\n<script>"
    url = await client.upload(b"hello", Upload_Metadata=metadata(filename=evil, filetype=evil, name=evil))
    async with await Wire.open(url) as wire:
        wire.start("GET", url, {})
        block = (await wire.reader.readuntil(b"\r\n\r\n")).lower()
        assert await wire.reader.readexactly(5) == b"hello"
    names = [line.partition(b":")[0] for line in block.split(b"\r\n")[1:] if line]
    assert b"set-cookie" not in names
    assert len(names) == len(set(names))
