"""What hooks are sent and what they may answer, in tusd's JSON. Pure: no I/O, no clock.

A reply comes from code that may pass on what a client said, so an id, a path or a header in it is trusted as little as
one in a request (reliability 5.2, rows 22 and 55).
"""

from __future__ import annotations

import logging
import re
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from tusd_py.errors import HookFailed, InvalidMetadata
from tusd_py.models.hook import HookEvent, HookReply, Moment, RequestInfo
from tusd_py.models.upload import UploadKind
from tusd_py.protocol.headers import is_field_value
from tusd_py.protocol.metadata import check_metadata, format_metadata, read_metadata

log = logging.getLogger(__name__)

MAX_REPLY = 64 * 1024
"""Most bytes of an answer; its body for the client and its metadata cannot be larger either."""
MAX_PATH = 1024
"""Most bytes of a path that a hook chooses."""
MAX_SEGMENT = 255
"""Most bytes between two slashes of it: what file systems take."""
MAX_SEGMENTS = 64
"""Most parts of it between slashes."""
MAX_HEADERS = 32
"""Most headers for the client in one reply."""
MAX_HEADERS_SIZE = 8 * 1024
"""Most characters of their names and values together."""

_ID = re.compile(r"[A-Za-z0-9_-]{3,128}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Those of the connection are the server's, those of tus and CORS are the engine's: a hook cannot know what is true.
_RESERVED = re.compile(
    r"connection|transfer-encoding|content-length|upgrade|keep-alive|te|trailer|location"
    r"|proxy-.*|tus-.*|upload-.*|access-control-.*",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN = 60

T = TypeVar("T")


class PayloadStyle(StrEnum):
    """How an event looks. `tusd-v1` has no type in the body: the header `Hook-Name` or the program's name tells it."""

    TUSD_V2 = "tusd-v2"
    TUSD_V1 = "tusd-v1"


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data of an upload is."""

    path: str
    """Absolute."""
    type: str = "filestore"


def encode(event: HookEvent, *, style: PayloadStyle, storage: Storage | None) -> bytes:
    """Return the payload of an event: JSON in UTF-8. What is not UTF-8 in a request becomes U+FFFD, as in tusd."""
    body = {"Upload": _upload(event, storage), "HTTPRequest": _request(event.request)}
    return msgspec.json.encode(body if style is PayloadStyle.TUSD_V1 else {"Type": event.moment, "Event": body})


def told_id(event: HookEvent) -> str:
    """Return the id of the upload; empty before it is created, when a hook may still choose another one."""
    return "" if event.moment is Moment.PRE_CREATE else event.upload.id


def told_size(event: HookEvent) -> int:
    """Return the declared bytes of the upload; 0 while they are deferred."""
    return event.upload.length or 0


def legible(text: str) -> str:
    """Return a text of a request with the bytes that are not UTF-8 replaced by U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def decode_reply(data: bytes, moment: Moment) -> HookReply:
    """Return what a hook wants at a moment, from tusd's JSON. Names count whatever their case, as in Go.

    What is empty wants nothing; what means nothing at this moment is left out, as is every unknown name.

    Raises:
        HookFailed: it is not a JSON object, or it wants something that is not allowed; the message says what.
    """
    if not data.strip() or not (moment.blocks or moment is Moment.POST_RECEIVE):
        # Nobody can answer a fact, and a script that only says `done` has not failed.
        return HookReply()
    try:
        raw = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise HookFailed("the answer is not JSON") from error
    if not isinstance(raw, dict):
        raise HookFailed("the answer is not a JSON object")
    wish = _converted(_lowered(raw), _Wish, "the answer has a value of the wrong type")
    response, change = wish.httpresponse or _Response(), wish.changefileinfo or _Change()
    refuses = wish.rejecttermination if moment is Moment.PRE_TERMINATE else wish.rejectupload
    reply = HookReply(
        refuses=bool(refuses),
        stops=bool(wish.stopupload),
        # As in Go, where the zero value of a field is one that was not set.
        status=response.statuscode or None,
        body=response.body or None,
        headers=tuple((response.header or response.headers or {}).items()),
        upload_id=change.id or None,
        metadata=change.metadata,
        path=(change.storage or _Place()).path or None,
    )
    return checked(reply, moment)


def checked(reply: HookReply, moment: Moment) -> HookReply:
    """Return a reply with what means something at a moment, and can be done without harm.

    Headers that are not the hook's to set are left out, with one record in the log. A refusal never looks like a
    success, and a success never like a redirect.

    Raises:
        HookFailed: a field has the wrong type or a value that is not allowed; the message says which.
    """
    reply = _converted(asdict(reply), HookReply, "the answer has a field of the wrong type")
    if moment is not Moment.PRE_CREATE:
        reply = replace(reply, upload_id=None, metadata=None, path=None)
    reply = replace(reply, refuses=reply.refuses and moment.blocks, stops=reply.stops and moment is Moment.POST_RECEIVE)
    _check_upload_id(reply.upload_id)
    _check_path(reply.path)
    _check_metadata(reply.metadata)
    _check_response(reply)
    if not (moment.blocks or reply.stops):
        return HookReply()
    return replace(reply, status=_honest_status(reply), headers=_permitted(reply.headers))


class _Response(msgspec.Struct):
    statuscode: int | None = None
    body: str | None = None
    header: dict[str, str] | None = None
    # tusd's own example writes it so, and tusd ignores it.
    headers: dict[str, str] | None = None


class _Place(msgspec.Struct):
    path: str | None = None


class _Change(msgspec.Struct):
    id: str | None = None
    metadata: dict[str, str] | None = None
    storage: _Place | None = None


class _Wish(msgspec.Struct):
    """A reply as tusd has it, its names in lower case."""

    rejectupload: bool | None = None
    rejecttermination: bool | None = None
    stopupload: bool | None = None
    httpresponse: _Response | None = None
    changefileinfo: _Change | None = None


_OBJECTS: dict[str, Any] = {"httpresponse": {}, "changefileinfo": {"storage": {}}}
"""Whose names count whatever their case. Those of headers and metadata are the hook's own."""


def _lowered(raw: dict[str, Any], objects: dict[str, Any] = _OBJECTS) -> dict[str, Any]:
    """Return an object with its names in lower case, and those of the objects in it that have names of ours."""
    lowered = {name.lower(): value for name, value in raw.items()}
    inner = {
        name: _lowered(lowered[name], below) for name, below in objects.items() if isinstance(lowered.get(name), dict)
    }
    return lowered | inner


def _converted(raw: dict[str, Any], kind: type[T], complaint: str) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise HookFailed(f"{complaint}: {error}") from error


def _upload(event: HookEvent, storage: Storage | None) -> dict[str, object]:
    upload = event.upload
    is_new = event.moment is Moment.PRE_CREATE
    # There is no file beside the data. An empty path is still a text, as scripts expect one, and "rm -f" of it does
    # nothing; without the name a script that reads it dies, or takes "null" for the path of a file.
    place = None if storage is None else {"Type": storage.type, "Path": legible(storage.path), "InfoPath": ""}
    return {
        "ID": told_id(event),
        "Size": told_size(event),
        "SizeIsDeferred": upload.length is None,
        "Offset": upload.offset,
        "MetaData": {legible(key): value for key, value in read_metadata(upload.metadata).items()},
        "IsPartial": upload.kind is UploadKind.PARTIAL,
        "IsFinal": upload.kind is UploadKind.FINAL,
        "PartialUploads": upload.parts or None,
        "Storage": None if is_new else place,
    }


def _request(request: RequestInfo) -> dict[str, object]:
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(_canonical(name), []).append(legible(value))
    return {
        "Method": request.method,
        "URI": legible(request.uri),
        "RemoteAddr": request.remote_addr,
        "Header": headers,
    }


def _canonical(name: str) -> str:
    """Return a header name as Go writes it, which is how scripts look for it: `Tus-Resumable`, `X-Request-Id`."""
    return "-".join(part.capitalize() for part in name.split("-")) if _TOKEN.fullmatch(name) else legible(name)


def _check_upload_id(upload_id: str | None) -> None:
    if upload_id is not None and not _ID.fullmatch(upload_id):
        raise HookFailed(f"the id {_shown(upload_id)} must be 3 to 128 letters, digits, - and _")


def _check_path(path: str | None) -> None:
    if path is None:
        return
    problem = _problem_of(path)
    if problem:
        raise HookFailed(f"the path {_shown(path)} {problem}")


def _problem_of(path: str) -> str:
    """Return what is wrong with a path; empty when it names a file below a directory, in every file system."""
    if not _is_text(path):
        return "is not Unicode"
    if _CONTROL.search(path) or "\\" in path:
        return "has a control character or a backslash"
    segments = path.split("/")
    # Those with a dot in front are ours or nobody's: ".", "..", and hidden files.
    if any(not segment or segment.startswith(".") for segment in segments):
        return "is not relative, or has a segment that is empty or begins with a dot"
    if len(path.encode()) > MAX_PATH or any(len(segment.encode()) > MAX_SEGMENT for segment in segments):
        return f"is longer than {MAX_PATH} bytes, or a segment of it than {MAX_SEGMENT}"
    if len(segments) > MAX_SEGMENTS:
        return f"has more than {MAX_SEGMENTS} segments"
    return ""


def _check_metadata(metadata: dict[str, str] | None) -> None:
    if metadata is None:
        return
    if not all(map(_is_text, metadata.values())):
        raise HookFailed("the metadata has a value that is not Unicode")
    try:
        check_metadata(format_metadata(metadata), strict=True, max_size=2 * MAX_REPLY)
    except InvalidMetadata as error:
        raise HookFailed(f"the metadata cannot be used: {error.message}") from error


def _check_response(reply: HookReply) -> None:
    if reply.status is not None and not 200 <= reply.status <= 599:
        raise HookFailed("the status must be from 200 to 599")
    if reply.body is not None and (not _is_text(reply.body) or len(reply.body.encode()) > MAX_REPLY):
        raise HookFailed(f"the body is not Unicode, or longer than {MAX_REPLY} bytes")
    if len(reply.headers) > MAX_HEADERS or sum(map(len, sum(reply.headers, ()))) > MAX_HEADERS_SIZE:
        raise HookFailed(f"there are more than {MAX_HEADERS} headers or {MAX_HEADERS_SIZE} characters in them")
    for name, value in reply.headers:
        if not _TOKEN.fullmatch(name):
            raise HookFailed(f"{_shown(name)} cannot be the name of a header")
        if not is_field_value(value):
            raise HookFailed(f"the value of the header {_shown(name)} has characters that are not printable ASCII")


def _honest_status(reply: HookReply) -> int | None:
    """Return the status unless it would say the opposite of what happens, or send the client elsewhere."""
    if reply.status is None or reply.status >= 400:
        return reply.status
    return None if reply.refuses or reply.stops or reply.status >= 300 else reply.status


def _permitted(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    refused = sorted({name for name, _ in headers if _RESERVED.fullmatch(name)})
    if refused:
        names = ", ".join(refused)
        log.warning("headers that a hook cannot set are left out: %s", names, extra={"action": "hook_header_refused"})
    return tuple((name, value) for name, value in headers if name not in refused)


def _is_text(text: str) -> bool:
    """Whether it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    """Return a text for a message: one line of ASCII, however long it is."""
    shown = ascii(text[:_SHOWN])
    return shown if len(text) <= _SHOWN and len(shown) <= _SHOWN + 2 else f"{shown[:_SHOWN]}...'"
