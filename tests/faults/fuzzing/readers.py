"""What reads the texts of strangers, without sockets: one function makes an input, one reads it and judges.

An input is a Python literal, so that it can be kept. Only documented errors may come out of a reader, and nothing
that it returns may break a header or a line.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import Callable
from ipaddress import ip_network
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.faults.fuzzing.heads import TARGETS, flawed
from tests.faults.fuzzing.rules import Request, breaches, parse
from tests.faults.fuzzing.values import ID, NAMES, checksum, concat, fields, junk, metadata, mutated, value_of
from tusd_py.cli.logs import JsonFormatter, TextFormatter
from tusd_py.engine.service import Engine
from tusd_py.errors import InternalServerError, OriginNotAllowed, TusError
from tusd_py.models.limits import Limits
from tusd_py.protocol.checksum import parse_checksum
from tusd_py.protocol.headers import is_plain_id, uri_value
from tusd_py.protocol.intents import Append, Create, Discover, Download, Inspect, Intent, Terminate
from tusd_py.protocol.metadata import check_metadata, parse_metadata
from tusd_py.protocol.tus1 import Tus1
from tusd_py.server import MAX_HEADER_FIELD, MAX_REQUEST_LINE, READ_BUFFER
from tusd_py.web import download
from tusd_py.web.access import shorten
from tusd_py.web.adapt import check_framing, read_head
from tusd_py.web.body import expects_continue
from tusd_py.web.cors import Cors, CorsPolicy
from tusd_py.web.handlers import MountOptions
from tusd_py.web.location import EdgePolicy, find_edge, location_of, own_origins, public_bases
from tusd_py.web.setup import add_mount

Pairs = list[tuple[str, str]]

FIELD_VALUE = re.compile(r"[\x20-\x7e]+")
_DISPOSITION = re.compile(
    r"(inline|attachment)(?:;filename=\"([\x20-\x7e]*)\"(?:;filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+))?)?"
)
_LOCATION = re.compile(r"(?:https?://[A-Za-z0-9._~:\[\]-]+)?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+")
_SPAN = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_METHODS = ("OPTIONS", "POST", "HEAD", "PATCH", "DELETE", "GET", "PUT")
_LOOPBACK = (ip_network("127.0.0.0/8"),)
EDGES = (
    EdgePolicy(),
    EdgePolicy(relative=True),
    EdgePolicy(behind_proxy=True),
    EdgePolicy(behind_proxy=True, trusted=_LOOPBACK),
    EdgePolicy(behind_proxy=True, trusted=_LOOPBACK, relative=True),
    EdgePolicy(public_url="https://tus.io/x/files", behind_proxy=True, trusted=_LOOPBACK),
)
ORIGINS = (
    CorsPolicy(),
    CorsPolicy(allow_origin=("https://*.example.com", "http://h:1"), allow_credentials=True),
    CorsPolicy(enabled=False),
)
MODIFIED = 784111777.5
"""When the upload was finished that is asked for: Sun, 06 Nov 1994 08:49:37 GMT."""


def _request(method: str, target: str, pairs: Pairs, message: RawRequestMessage | None = None) -> web.Request:
    """Return what aiohttp makes of a head, resolved; without a match when it is nobody's."""
    headers = CIMultiDictProxy(CIMultiDict(pairs))
    url = URL.build(path=target, encoded=True) if message is None else URL()
    transport = SimpleNamespace(get_extra_info=lambda name: ("127.0.0.1", 1) if name == "peername" else None)
    protocol: Any = SimpleNamespace(transport=transport, ssl_context=None, peername=("127.0.0.1", 1), sockname=None)
    message = message or RawRequestMessage(
        method, target, HttpVersion11, headers, (), False, None, False, "Transfer-Encoding" in headers, url
    )
    return web.Request(message, EMPTY_PAYLOAD, protocol, cast(Any, None), cast(Any, None), cast(Any, None))


def _application() -> web.Application:
    app = web.Application()
    for prefix in ("/files/", "/users/{user}/files"):
        add_mount(app, prefix, cast(Engine, None), MountOptions())
    return app


_ROUTER = _application().router


def _is_ours(request: web.Request) -> bool:
    """Find the route of a request, as aiohttp does before it calls anybody."""
    resolving = _ROUTER.resolve(request)
    try:
        resolving.send(None)
    except StopIteration as found:
        request._match_info = found.value
    return request._match_info is not None and request._match_info.http_exception is None


def read_disposition(header: str) -> None:
    """Type and name of a download: two well-formed headers, and no type that can run is shown (row 25, row 27)."""
    described = download.describe(header)
    assert all(FIELD_VALUE.fullmatch(value) for value in described.values()), described
    media_type, disposition = described["Content-Type"], described["Content-Disposition"]
    match = _DISPOSITION.fullmatch(disposition)
    assert match, disposition
    if match[1] == "inline":
        assert media_type.partition(";")[0].strip().lower() in download.INLINE_TYPES
    for name in (match[2], unquote_to_bytes(match[3]).decode() if match[3] else None):
        assert name is None or not {"/", "\\", "\0", "\r", "\n"} & set(name)
    assert '"' not in (match[2] or "")
    assert (match[2] or "x").strip(". "), "a name of dots only"


def read_edge(policy: int, target: str, pairs: Pairs) -> None:
    """Where a request entered: a URL of nothing but URL characters, and never one of an untrusted peer (row 46)."""
    request = _request("POST", "/files/", pairs)
    edge = find_edge(request, EDGES[policy])
    location = location_of(EDGES[policy], edge, "/files/", ID)
    assert _LOCATION.fullmatch(location)
    url = urlsplit(location)
    assert url.port is None or 0 <= url.port < 2**16
    assert ".." not in url.path.split("/")
    assert location.endswith("/files/" + ID)
    assert all(re.fullmatch("/(.*/)?", base) for base in public_bases(EDGES[policy], edge, "/files/"))
    for origin in own_origins(EDGES[policy], edge):
        assert _LOCATION.fullmatch(origin + "/"), origin
    names = {name for name, _ in pairs}
    if policy < 3 and names & {"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Via"}:
        assert location == "/files/" + ID


def read_range(asked: str, validator: str | None, size: int) -> None:
    """Which bytes of a download: those asked for by one good range, else all (row 29)."""
    pairs = [("Range", asked)] + ([("If-Range", validator)] if validator is not None else [])
    span = download._choose_range(_request("GET", "/files/" + ID, pairs), f'"{ID}-a"', MODIFIED, size)
    match = _SPAN.fullmatch(asked)
    if span is None:
        assert match
        assert (match[1] and int(match[1]) >= size) or (not match[1] and not (int(match[2]) and size))
    elif not span.asked_for:
        assert (span.start, span.count) == (0, size)
    else:
        assert match
        first, last = match[1], match[2]
        wanted = range(size)[int(first) : int(last) + 1 if last else None] if first else range(size)[-int(last) :]
        assert wanted
        assert (span.start, span.count) == (wanted.start, len(wanted))


def read_conditions(pairs: Pairs) -> None:
    """Whether a download is still the same: yes or no (I20)."""
    assert download._is_unchanged(_request("GET", "/files/" + ID, pairs), f'"{ID}-a"', MODIFIED) in (True, False)


def read_origin(policy: int, method: str, pairs: Pairs) -> None:
    """Who asks: the headers of the answer fit on the wire and name nobody who is not allowed (row 41)."""
    headers = CIMultiDict(pairs)
    try:
        answer = Cors(ORIGINS[policy]).headers_for(headers, method, ["http://own:1080"])
    except OriginNotAllowed:
        assert policy == 1 or not re.fullmatch("[ -~]*", headers["Origin"])
        return
    assert all(FIELD_VALUE.fullmatch(value) for value in answer.values() if value != ""), answer
    allowed = answer.get("Access-Control-Allow-Origin")
    assert allowed is None or allowed == headers["Origin"]
    if allowed is not None and policy == 1:
        origin = urlsplit(allowed)
        assert allowed.lower() == "http://h:1" or (
            origin.scheme == "https" and (origin.hostname or "").endswith(".example.com") and origin.path == ""
        )


_INTENTS: dict[type[Intent], str] = {
    Append: "PATCH",
    Create: "POST",
    Inspect: "HEAD",
    Terminate: "DELETE",
    Download: "GET",
    Discover: "OPTIONS",
}


def _read(request: web.Request, policy: EdgePolicy) -> Intent | None:
    """Read a request as a mount does before it asks the engine."""
    if not _is_ours(request):
        return None
    edge = find_edge(request, policy)
    head = read_head(request, policy, edge)
    assert all(base.startswith("/") and base.endswith("/") for base in head.base_paths), head.base_paths
    expects_continue(request)
    dialect = Tus1(Limits())
    try:
        check_framing(request)
        intent = dialect.read(head)
    except TusError as error:
        reply = dialect.refused(error, head)
        assert 400 <= reply.status < 500
        assert all(FIELD_VALUE.fullmatch(value) for _, value in reply.headers), reply.headers
        return None
    finally:
        dialect.refused(InternalServerError(), head)
    location = uri_value(location_of(policy, edge, head.base_paths[0], ID))
    assert re.fullmatch(r"[\x21-\x7e]+", location), location
    return intent


def read_request(policy: int, method: str, target: str, pairs: Pairs) -> None:
    """A whole head: an error of the tree, or an intent that a strict reader finds nothing against (I20)."""
    request = _request(method, target, pairs)
    intent = _read(request, EDGES[policy])
    if intent is not None:
        body = b"x" if request.content_length or "Transfer-Encoding" in request.headers else b""
        found = breaches(Request(method, target, tuple(pairs), body), _INTENTS[type(intent)])
        assert not found, found


class _Connection(BaseProtocol):
    """A connection that nobody is behind."""

    def pause_reading(self) -> None: ...

    def resume_reading(self, resume_parser: bool = True) -> None: ...


_LOOP = asyncio.new_event_loop()
_LOOP.close()


def read_raw(raw: bytes) -> None:
    """The bytes of requests, by the parser of aiohttp: refused by it, or read by us like any other (I20, row 8)."""
    raw = re.sub(rb"@(open|deferred|done|part)@", ID.encode(), raw)
    parser = HttpRequestParser(
        _Connection(_LOOP),
        _LOOP,
        READ_BUFFER,
        max_line_size=MAX_REQUEST_LINE,
        max_field_size=MAX_HEADER_FIELD,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
    )
    try:
        messages, _, _ = parser.feed_data(raw)
    except HttpProcessingError:
        return
    for place, (message, _) in enumerate(messages):
        intent = _read(_request("", "", list(message.headers.items()), message), EDGES[0])
        if intent is not None and place == 0:
            request = parse(raw)
            assert request, "this is no request by RFC 9112"
            assert not (found := breaches(request, _INTENTS[type(intent)])), found


def read_log(text: str) -> None:
    """What a log says of it: one line, and no name that opens an upload (row 21, row 26)."""
    cut = shorten(text)
    assert not re.search(r"[A-Za-z0-9_-]{24}", cut), cut
    for name, pattern, arguments in (("aiohttp.access", "%s %s", ("GET", text)), ("a", text, ()), ("a", text, (1,))):
        record = logging.LogRecord(name, logging.INFO, "", 0, pattern, arguments, None)
        record.remote = text
        for formatter in (TextFormatter(), JsonFormatter()):
            line = formatter.format(record)
            assert len(line.splitlines()) == 1, line
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", line), line
            line.encode()
        msgspec.json.decode(JsonFormatter().format(record))


def read_metadata(header: str) -> None:
    """Metadata: the pairs are those that a strict reader finds, and what is taken can be echoed (row 23)."""
    expected: dict[str, bytes] = {}
    for member in (part.strip(" \t") for part in header.split(",")):
        key, _, value = member.partition(" ")
        if member and (decoded := _decoded(value)) is not None:
            expected[key] = decoded
    assert parse_metadata(header) == expected
    for strict in (False, True):
        try:
            check_metadata(header, strict=strict, max_size=65536)
        except TusError:
            continue
        assert re.fullmatch(r"[\t\x20-\x7e]*", header)
        if strict:
            assert len(expected) == sum(1 for part in header.split(",") if part.strip(" \t"))


def read_concat(header: str) -> None:
    """A list of parts: the ids that its references end with, or a refusal (CAT-18)."""
    pairs = [("Tus-Resumable", "1.0.0"), ("Upload-Concat", header)]
    request = _request("POST", "/files/", [*pairs, ("Content-Length", "0")])
    intent = _read(request, EDGES[0])
    if intent is None:
        return
    assert isinstance(intent, Create)
    references = [each for each in header.removeprefix("final;").split(" ") if each]
    named = [re.split("[?#]", each)[0].removesuffix("/").rpartition("/")[2] for each in references]
    assert list(intent.parts) == named
    assert all(map(is_plain_id, named))


def read_checksum(header: str) -> None:
    """A checksum: canonical base64 behind a known name, or a refusal (CSUM-06)."""
    try:
        announced = parse_checksum(header)
    except TusError:
        return
    assert header == f"{announced.algorithm} {base64.b64encode(announced.digest).decode()}"


def _decoded(value: str) -> bytes | None:
    try:
        decoded = binascii.a2b_base64(value.encode("ascii"), strict_mode=True) if value else b""
    except ValueError:
        return None
    return decoded if base64.b64encode(decoded).decode() == value else None


class Reader(NamedTuple):
    """One thing that reads."""

    make: Callable[[Random], tuple[Any, ...]]
    """Makes the arguments of `read`."""
    read: Callable[..., None]
    share: int
    """How often, beside the others."""


def _target(random: Random) -> str:
    path = random.choice(("/files/", "/files", "/files/" + ID, "/files/" + ID, "/users/x/files/", *TARGETS))
    path = mutated(random, path) if random.random() < 0.3 else path
    return "/" + path.lstrip("/").encode("ascii", "replace").decode()


def _few(random: Random, *names: str) -> Pairs:
    return [(name, value_of(random, name)) for name in names if random.random() < 0.6]


def _head(random: Random) -> tuple[int, str, str, Pairs]:
    common = ("Tus-Resumable", "Content-Type", "Upload-Length", "Upload-Offset", "Content-Length")
    # The parser in front of us lets no other lengths through; `raw` knows.
    good = {"Content-Length": random.choice(("0", "5", "18446744073709551615"))}
    if random.random() < 0.8:
        good |= {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    pairs = [(name, good.get(name, value)) for name, value in fields(random, *common)]
    return random.randrange(len(EDGES)), random.choice(_METHODS), _target(random), pairs


def _mostly(random: Random, make: Callable[[Random], str]) -> tuple[str]:
    good = make(random)
    kind = random.random()
    return (good if kind < 0.5 else mutated(random, good) if kind < 0.9 else junk(random),)


_EDGE = ("Host", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-For", "Via")
READERS: dict[str, Reader] = {
    "disposition": Reader(lambda r: _mostly(r, metadata), read_disposition, 3),
    "edge": Reader(lambda r: (r.randrange(len(EDGES)), "/files/", _few(r, *_EDGE)), read_edge, 3),
    "range": Reader(
        lambda r: (
            value_of(r, "Range"),
            r.choice((None, None, value_of(r, "If-Range"))),
            r.choice((0, 1, 10, 2**63 - 1)),
        ),
        read_range,
        3,
    ),
    "conditions": Reader(lambda r: (_few(r, "If-None-Match", "If-Modified-Since"),), read_conditions, 2),
    "origin": Reader(
        lambda r: (r.randrange(3), r.choice(_METHODS), _few(r, "Origin", "Access-Control-Request-Method")),
        read_origin,
        1,
    ),
    "request": Reader(_head, read_request, 6),
    "raw": Reader(lambda r: (flawed(r),), read_raw, 6),
    "log": Reader(lambda r: _mostly(r, lambda r: value_of(r, r.choice(NAMES))), read_log, 1),
    "metadata": Reader(lambda r: _mostly(r, metadata), read_metadata, 2),
    "concat": Reader(lambda r: _mostly(r, concat), read_concat, 2),
    "checksum": Reader(lambda r: _mostly(r, checksum), read_checksum, 1),
}
_CHOICES = [name for name, reader in READERS.items() for _ in range(reader.share)]


def make(seed: int, number: int) -> tuple[str, tuple[Any, ...]]:
    """Return one input and the name of its reader; always the same for the same numbers."""
    random = Random(f"{seed}-{number}")
    name = random.choice(_CHOICES)
    return name, READERS[name].make(random)
