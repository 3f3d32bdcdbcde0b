"""Whatever comes in, nothing but a `TusError` comes out, and every answer fits on the wire (I20)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.protocol.requests import CT, ID, T
from tusd_py import errors
from tusd_py.errors import TusError
from tusd_py.models.limits import EXTENSIONS, Limits
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.checksum import matches, new_digest, parse_checksum
from tusd_py.protocol.concat import parse_concat, resolve_reference
from tusd_py.protocol.headers import decode_base64, imf_fixdate, is_beyond_integer, is_plain_id, parse_integer
from tusd_py.protocol.intents import Append, Create, Discover, Intent
from tusd_py.protocol.messages import Reply, RequestHead
from tusd_py.protocol.metadata import check_metadata, decode_text, parse_metadata
from tusd_py.protocol.rules import check_create, check_parts, check_visible, plan_append
from tusd_py.protocol.tus1 import Tus1

NAMES = [
    "Tus-Resumable", "X-HTTP-Method-Override", "Content-Type", "Content-Encoding", "Expect", "Trailer",
    "Upload-Length", "Upload-Offset", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat", "Upload-Checksum",
    "Upload-Complete", "Upload-Draft-Interop-Version",
]  # fmt: skip
METHODS = ["OPTIONS", "POST", "HEAD", "PATCH", "DELETE", "GET", "PUT", "patch", "FOO", ""]
KNOWN = [
    "1.0.0", "1.0.0, 1.0.0", "0.2.2", "PATCH", "delete", "HEAD", CT[1], "identity", "gzip", "100-continue", "", "0",
    "1", "10", "9223372036854775807", "9223372036854775808", "9" * 5000, "partial", "final;a b", "final;/files/" + ID,
    "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha1 AAAA", "crc32 AAAA", "filename d29ybGQucGRm,is_confidential",
    "Upload-Checksum", "?1",
]  # fmt: skip

# Everything that aiohttp can make of bytes, lone surrogates included, with the characters that matter more often.
anything = st.text(st.one_of(st.characters(codec=None), st.sampled_from(" ,;:/?#=+-_\t\r\n\0\udce9٣²")), max_size=80)
values = st.one_of(st.sampled_from(KNOWN), anything)
fields = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=8)
sizes = st.one_of(st.none(), st.integers(0, 20), st.integers(2**63 - 3, 2**63 + 3))
known_sizes = st.one_of(st.integers(0, 20), st.integers(2**63 - 3, 2**63 - 1))


@st.composite
def heads(draw: st.DrawFn) -> RequestHead:
    """Heads of requests, about half of them with a good version and media type."""
    good = draw(st.sampled_from([(), (T,), (T, CT)]))
    body = draw(sizes)
    return RequestHead(
        method=draw(st.sampled_from(METHODS)),
        upload_id=draw(st.one_of(st.none(), st.just(ID), anything)),
        headers=CIMultiDict([*good, *draw(fields)]),
        has_body=body is None or body > 0,
        body_length=body,
        base_paths=draw(st.sampled_from([("/files/",), ("/",), ("/a/", "/files/")])),
    )


limits = st.builds(
    Limits,
    max_size=sizes,
    max_metadata_size=st.sampled_from([0, 20, 65536]),
    max_parts=st.sampled_from([1, 1000]),
    expire_after=st.sampled_from([None, 60.0]),
    extensions=st.frozensets(st.sampled_from(EXTENSIONS)) | st.just(frozenset(EXTENSIONS)),
    strict_metadata=st.booleans(),
    download=st.booleans(),
    method_override=st.booleans(),
)
uploads = st.builds(
    UploadInfo,
    id=st.just(ID),
    kind=st.sampled_from(UploadKind),
    state=st.sampled_from(UploadState),
    offset=known_sizes,
    length=st.one_of(st.none(), known_sizes),
    metadata=values,
    concat=st.one_of(st.none(), values),
    expires_at=st.one_of(st.none(), st.floats(allow_nan=False)),
)


def every_error() -> list[type[TusError]]:
    """All classes of the tree that a dialect may be given."""
    found = [TusError]
    for error in found:
        found += error.__subclasses__()
    return found


def check_reply(reply: Reply) -> None:
    """Assert that an answer fits on the wire."""
    names = [name for name, _ in reply.headers]
    assert len(names) == len(set(names))
    assert {("Tus-Resumable", "1.0.0"), ("X-Content-Type-Options", "nosniff")} <= set(reply.headers)
    for name, value in reply.headers:
        # RFC 9110 5.5: visible ASCII, spaces and tabs; a tab only comes from a verbatim echo.
        assert re.fullmatch(r"[\t\x20-\x7e]+", value), (name, value)


@given(heads(), limits)
def test_reading_ends_in_an_intent_or_a_refusal(head: RequestHead, limits: Limits) -> None:
    """I20: whatever the request; and what is read obeys its own rules."""
    tus = Tus1(limits)
    try:
        intent = tus.read(head)
    except TusError as error:
        reply = tus.refused(error, head)
        check_reply(reply)
        assert 400 <= reply.status < 500 or reply.status == 501
        assert bool(reply.body) is (tus.effective_method(head) != "HEAD")
    else:
        check_intent(intent, limits)


def check_intent(intent: Intent, limits: Limits) -> None:
    """Assert that what is stored later can be stored, echoed and found."""
    if isinstance(intent, Create):
        check_metadata(intent.metadata, strict=limits.strict_metadata, max_size=limits.max_metadata_size)
        assert all(is_plain_id(part) for part in intent.parts)
        assert bool(intent.parts) is (intent.kind is UploadKind.FINAL)
        check_reply(
            Tus1(limits).inspected(UploadInfo(id=ID, metadata=intent.metadata, concat=intent.concat), "/files/x")
        )
    elif not isinstance(intent, Discover):
        assert is_plain_id(intent.upload_id)
    if isinstance(intent, Append):
        assert 0 <= intent.offset < 2**63
    if isinstance(intent, Append | Create):
        assert intent.length is None or 0 <= intent.length < 2**63


@given(uploads, limits, anything, st.booleans())
def test_every_answer_fits_on_the_wire(upload: UploadInfo, limits: Limits, location: str, body: bool) -> None:
    """CRE-META-07, FWD-09, CORE-VER-06: also for what a damaged store or a hook made of an upload."""
    tus = Tus1(limits)

    for reply in (
        tus.discovered(),
        tus.inspected(upload, "/files/x"),
        tus.appended(upload, "/files/x"),
        tus.terminated(),
    ):
        check_reply(reply)
    check_reply(tus.created(Create(has_body=body), upload, "/" + location))


@pytest.mark.parametrize("error_class", every_error())
@given(upload=uploads, limits=limits, head=heads(), message=anything)
def test_every_error_fits_on_the_wire(
    error_class: type[TusError], upload: UploadInfo, limits: Limits, head: RequestHead, message: str
) -> None:
    """CORE-VER-06: every class of the tree, about every upload, with any words."""
    if error_class is errors.MethodNotAllowed:
        error: TusError = errors.MethodNotAllowed(message, allow=("OPTIONS",))
    else:
        error = error_class(message)
    error.upload = upload
    reply = Tus1(limits).refused(error, head)

    check_reply(reply)
    assert error_class.status == reply.status
    assert ("Upload-Offset" in dict(reply.headers)) is (error_class is errors.MismatchedOffset)


@given(uploads, limits, known_sizes, sizes, st.one_of(st.none(), known_sizes))
def test_a_plan_keeps_an_upload_within_its_bounds(
    upload: UploadInfo, limits: Limits, offset: int, body: int | None, length: int | None
) -> None:
    """I2: offset <= length always, and no upload grows beyond the limit."""
    intent = Append(upload_id=ID, offset=offset, length=length, has_body=body != 0, body_length=body)
    plan, refusal = None, None
    try:
        plan = plan_append(upload, intent, limits)
    except TusError as error:
        refusal = error
    if plan is None:
        assert refusal is not None
        assert upload is refusal.upload
        return
    if body is not None:
        assert body <= (2**63 - 1 - offset if plan.cap is None else plan.cap)
    if plan.cap is None:
        assert plan.length is None
        assert limits.max_size is None
    elif plan.length is not None and not upload.is_finished:
        assert offset + plan.cap == plan.length
    elif limits.max_size is not None and plan.length is None:
        assert offset + plan.cap <= max(offset, limits.max_size)


@given(st.lists(st.none() | uploads, max_size=4), limits, sizes, sizes)
def test_rules_end_in_an_answer_or_a_refusal(
    parts: list[UploadInfo | None], limits: Limits, length: int | None, body: int | None
) -> None:
    """I20: creations, parts and visibility."""
    intent = Create(length=length, parts=(ID,) * len(parts), has_body=body != 0, body_length=body)
    checks: list[Callable[[], object]] = [
        partial(check_create, intent, limits),
        partial(check_parts, intent, parts, limits, 0.0),
        *(partial(check_visible, part, 0.0) for part in parts),
    ]
    for check in checks:
        with contextlib.suppress(TusError):
            check()


@given(values)
def test_parsers(value: str) -> None:
    """I20: every parser of the room, on anything."""
    try:
        assert 0 <= parse_integer(value, errors.InvalidOffset) < 2**63
    except errors.InvalidOffset:
        pass
    else:
        assert not is_beyond_integer(value)
    decode_base64(value)
    decode_text(parse_metadata(value))
    for strict in (False, True):
        with contextlib.suppress(errors.InvalidMetadata):
            check_metadata(value, strict=strict, max_size=65536)
    try:
        checksum = parse_checksum(value)
    except (errors.InvalidChecksum, errors.UnsupportedChecksumAlgorithm):
        pass
    else:
        matches(checksum, new_digest(checksum.algorithm).digest())


@given(values)
def test_references(value: str) -> None:
    """CAT-18: whatever is named, it is a plain id or refused."""
    with contextlib.suppress(errors.InvalidConcat):
        assert is_plain_id(resolve_reference(value, ("/files/", "/")))
    with contextlib.suppress(errors.InvalidConcat):
        assert all(map(is_plain_id, parse_concat("final;" + value, base_paths=("/files/",), max_parts=10).parts))


@given(st.floats(allow_nan=False))
def test_dates(seconds: float) -> None:
    """EXP-01: every time has a date of one shape."""
    day, month = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

    assert re.fullmatch(rf"{day}, \d\d {month} \d{{4}} \d\d:\d\d:\d\d GMT", imf_fixdate(seconds))
