"""Requests of tus 1.0.0 that are not about creating: methods, versions, routes, PATCH."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.protocol.requests import CT, ID, T, dialect, head, patch, post
from tests.protocol.test_headers import NOT_INTEGERS
from tusd_py.errors import (
    ChecksumTrailerUnsupported,
    ExpectationFailed,
    InvalidChecksum,
    InvalidContentType,
    InvalidOffset,
    InvalidRequest,
    InvalidUploadLength,
    MaxSizeExceeded,
    MethodNotAllowed,
    MissingVersion,
    TusError,
    UnsupportedChecksumAlgorithm,
    UnsupportedContentEncoding,
    UnsupportedVersion,
    UploadNotFound,
)
from tusd_py.protocol.intents import (
    Append,
    Checksum,
    Create,
    Discover,
    Download,
    Inspect,
    Terminate,
)
from tusd_py.protocol.messages import RequestHead

UO = ("Upload-Offset", "0")
UL = ("Upload-Length", "10")


def override(value: str) -> tuple[str, str]:
    return ("X-HTTP-Method-Override", value)


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        pytest.param(head("OPTIONS"), Discover(), id="CORE-OPT-01"),
        pytest.param(head("OPTIONS", ("Tus-Resumable", "0.0.1")), Discover(), id="CORE-OPT-02"),
        pytest.param(head("OPTIONS", upload_id=ID), Discover(), id="CORE-OPT-06"),
        pytest.param(head("OPTIONS", upload_id="../a\0%"), Discover(), id="CORE-OPT-06-no-id"),
        pytest.param(head("OPTIONS", override("PATCH"), upload_id=ID), Discover(), id="CORE-OVR-preflight"),
        pytest.param(head("HEAD", T, upload_id=ID), Inspect(upload_id=ID), id="CORE-HEAD-01"),
        pytest.param(head("DELETE", T, upload_id=ID), Terminate(upload_id=ID), id="TERM-01"),
        pytest.param(head("DELETE", T, upload_id=ID, body=9), Terminate(upload_id=ID), id="TERM-09"),
        pytest.param(head("GET", upload_id=ID), Download(upload_id=ID), id="CORE-VER-05"),
        pytest.param(head("GET", T, upload_id=ID), Download(upload_id=ID), id="GET-01"),
        pytest.param(patch(UO), Append(upload_id=ID, offset=0), id="CORE-PATCH-14"),
        pytest.param(
            patch(UO, body=11), Append(upload_id=ID, offset=0, has_body=True, body_length=11), id="CORE-PATCH-01"
        ),
        pytest.param(
            patch(UO, body=None), Append(upload_id=ID, offset=0, has_body=True, body_length=None), id="CORE-BODY-01"
        ),
        pytest.param(patch(("Upload-Offset", "0005")), Append(upload_id=ID, offset=5), id="CORE-PATCH-09"),
        pytest.param(patch(UO, UO), Append(upload_id=ID, offset=0), id="row-7-equal"),
        pytest.param(patch(UO, UL), Append(upload_id=ID, offset=0, length=10), id="DEF-01"),
        pytest.param(patch(UO, ("Upload-Defer-Length", "1")), Append(upload_id=ID, offset=0), id="CORE-PATCH-16"),
        pytest.param(patch(UO, ("Expect", "100-Continue")), Append(upload_id=ID, offset=0), id="CORE-BODY-09"),
        pytest.param(patch(UO, ("Content-Encoding", "Identity")), Append(upload_id=ID, offset=0), id="row-12-identity"),
        pytest.param(
            patch(UO, ("Upload-Complete", "?0"), ("Upload-Draft-Interop-Version", "8")),
            Append(upload_id=ID, offset=0),
            id="SEL-01",
        ),
    ],
)
def test_intents(request_head: RequestHead, expected: object) -> None:
    """What a good request means."""
    assert expected == dialect().read(request_head)


@pytest.mark.parametrize(
    "media_type", ["Application/Offset+Octet-Stream", "application/offset+octet-stream; charset=utf-8"]
)
def test_media_types_of_a_patch(media_type: str) -> None:
    """CORE-PATCH-04: case and parameters are ignored."""
    assert Append(upload_id=ID, offset=0) == dialect().read(
        head("PATCH", T, ("Content-Type", media_type), UO, upload_id=ID)
    )


@pytest.mark.parametrize("value", ["1.0.0", "1.0.0, 1.0.0", "1.0.0,1.0.0", "1.0.0,"])
def test_versions_accepted(value: str) -> None:
    """CORE-VER-07: the same version twice is one version."""
    assert Inspect(upload_id=ID) == dialect().read(head("HEAD", ("Tus-Resumable", value), upload_id=ID))


def test_version_on_two_lines() -> None:
    """CORE-VER-07: as two lines, too."""
    assert Inspect(upload_id=ID) == dialect().read(head("HEAD", T, T, upload_id=ID))


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize("version", ["0.2.2", "99.99.99", "1.0.0,0.2.2", "1.0", "1.0.0.", "\udcff"])
def test_wrong_versions(method: str, version: str) -> None:
    """CORE-VER-01, -02, -07, SEL-01: an explicit wrong version answers before anything else."""
    upload_id = None if method == "POST" else ID

    with pytest.raises(UnsupportedVersion) as caught:
        dialect().read(head(method, ("Tus-Resumable", version), upload_id=upload_id))
    assert caught.type is UnsupportedVersion


@pytest.mark.parametrize(
    "request_head",
    [
        head("POST", UL),
        head("HEAD", upload_id=ID),
        head("PATCH", CT, UO, upload_id=ID),
        head("DELETE", upload_id=ID),
        head("HEAD", ("Tus-Resumable", ""), upload_id=ID),
        head("PATCH", upload_id=ID),
        pytest.param(head("POST", override("PATCH"), CT, UO, upload_id=ID), id="CORE-OVR-06"),
    ],
)
def test_missing_version(request_head: RequestHead) -> None:
    """CORE-VER-03, CORE-OVR-06: before the media type, after the route."""
    with pytest.raises(MissingVersion):
        dialect().read(request_head)


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        pytest.param(patch_by, expected, id=row)
        for row, patch_by, expected in [
            ("CORE-OVR-01", head("POST", override("PATCH"), T, CT, UO, upload_id=ID), Append(upload_id=ID, offset=0)),
            ("CORE-OVR-02", head("POST", override("DELETE"), T, upload_id=ID), Terminate(upload_id=ID)),
            ("CORE-OVR-03-get", head("GET", override("HEAD"), T, upload_id=ID), Inspect(upload_id=ID)),
            ("CORE-OVR-03-put", head("PUT", override("DELETE"), T, upload_id=ID), Terminate(upload_id=ID)),
            ("CORE-OVR-04", head("POST", override("HEAD"), T, upload_id=ID), Inspect(upload_id=ID)),
            ("CORE-OVR-05", head("POST", override("patch"), T, CT, UO, upload_id=ID), Append(upload_id=ID, offset=0)),
            ("CORE-OVR-05-empty", head("HEAD", override(""), T, upload_id=ID), Inspect(upload_id=ID)),
            ("CWU-12", head("POST", override("POST"), T, UL), Create(length=10)),
            ("row-35-same", head("POST", override("head"), override("HEAD"), T, upload_id=ID), Inspect(upload_id=ID)),
            ("row-35-options", head("POST", override("OPTIONS"), upload_id=ID), Discover()),
        ]
    ],
)
def test_overrides(request_head: RequestHead, expected: object) -> None:
    """CORE-OVR-01 to -06: whatever the actual method, the override counts."""
    assert expected == dialect().read(request_head)


def test_contradictory_overrides() -> None:
    """Row 35: two of them."""
    with pytest.raises(InvalidRequest):
        dialect().read(head("POST", override("PATCH"), override("DELETE"), T, upload_id=ID))


def test_overrides_can_be_turned_off() -> None:
    """Row 35: with the switch off the header is not looked at."""
    reader = dialect(method_override=False)

    assert Inspect(upload_id=ID) == reader.read(head("HEAD", override("DELETE"), T, upload_id=ID))
    with pytest.raises(MethodNotAllowed):
        reader.read(head("POST", override("DELETE"), override("HEAD"), T, upload_id=ID))


ALL = ("OPTIONS", "HEAD", "PATCH", "DELETE", "GET")


@pytest.mark.parametrize(
    ("request_head", "options", "allow"),
    [
        pytest.param(head("PATCH", T, CT, UO), {}, ("OPTIONS", "POST"), id="CORE-PATCH-17"),
        pytest.param(head("HEAD", T), {}, ("OPTIONS", "POST"), id="A34"),
        pytest.param(head("DELETE", T), {}, ("OPTIONS", "POST"), id="TERM-06"),
        pytest.param(head("GET"), {}, ("OPTIONS", "POST"), id="GET-13"),
        pytest.param(head("PUT", T, upload_id=ID), {}, ALL, id="CORE-PATCH-18-put"),
        pytest.param(head("POST", T, UL, upload_id=ID), {}, ALL, id="CORE-PATCH-18-post"),
        pytest.param(head("POST", upload_id=ID), {}, ALL, id="CORE-PATCH-18-before-412"),
        pytest.param(head("POST", T, upload_id="x.info"), {}, ALL, id="row-16-as-unknown"),
        pytest.param(head("POST", override("FOO"), T, upload_id=ID), {}, ALL, id="CORE-OVR-05"),
        pytest.param(head("POST", override("opt\u0131ons"), T, upload_id=ID), {}, ALL, id="row-35-unicode"),
        pytest.param(head("get", upload_id=ID), {}, ALL, id="row-35-lower-case"),
        pytest.param(head("CONNECT", upload_id=ID), {}, ALL, id="row-35-connect"),
        pytest.param(
            head("DELETE", T, upload_id=ID),
            {"off": ("termination",)},
            ("OPTIONS", "HEAD", "PATCH", "GET"),
            id="TERM-07",
        ),
        pytest.param(
            head("GET", upload_id=ID), {"download": False}, ("OPTIONS", "HEAD", "PATCH", "DELETE"), id="GET-12"
        ),
        pytest.param(head("POST", T, UL), {"off": ("creation",)}, ("OPTIONS",), id="CORE-OPT-07"),
    ],
)
def test_methods_not_allowed(request_head: RequestHead, options: dict[str, Any], allow: tuple[str, ...]) -> None:
    """405 names what is enabled."""
    with pytest.raises(MethodNotAllowed) as caught:
        dialect(**options).read(request_head)
    assert allow == caught.value.allow


@pytest.mark.parametrize(
    "upload_id",
    ["", ".", "..", "../x", "%2e%2e%2fx", "..%5c", "a\x00b", "a/b", "a%2fb", "%c0%ae", "x.info", "x.lock", "x" * 4096],
)
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize("headers", [(), (T, CT, UO)])
def test_impossible_ids(upload_id: str, method: str, headers: tuple[tuple[str, str], ...]) -> None:
    """Row 16, GET-15, CORE-VER-04: the same answer as for an unknown id, with or without a version."""
    with pytest.raises(UploadNotFound) as caught:
        dialect().read(head(method, *headers, upload_id=upload_id))
    assert UploadNotFound().message == caught.value.message


@pytest.mark.parametrize("values", [(), ("text/plain",), ("application/octet-stream",), ("",), (CT[1], "text/plain")])
def test_wrong_media_types(values: tuple[str, ...]) -> None:
    """CORE-PATCH-03, row 13: 415, before the offset is looked at."""
    with pytest.raises(InvalidContentType):
        dialect().read(head("PATCH", T, *(("Content-Type", value) for value in values), upload_id=ID))


BAD_CHECKSUM = ("Upload-Checksum", "sha1")
BAD_LENGTH = ("Upload-Length", "x")
GZIP = ("Content-Encoding", "gzip")
EXPECT = ("Expect", "something-else")
TRAILER = ("Trailer", "upload-checksum")


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        pytest.param((GZIP, EXPECT, BAD_CHECKSUM), UnsupportedContentEncoding, id="row-12"),
        pytest.param((("Content-Encoding", "identity, br"), UO), UnsupportedContentEncoding, id="row-12-list"),
        pytest.param((("Content-Encoding", "identity"), GZIP, UO), UnsupportedContentEncoding, id="row-12-lines"),
        pytest.param((EXPECT, BAD_CHECKSUM), ExpectationFailed, id="CORE-BODY-11"),
        pytest.param((("Expect", "100-continue, foo"), UO), ExpectationFailed, id="CORE-BODY-11-list"),
        pytest.param((BAD_CHECKSUM, BAD_LENGTH), InvalidOffset, id="CORE-PATCH-07"),
        pytest.param((UO, ("Upload-Offset", "1")), InvalidOffset, id="row-7"),
        pytest.param((UO, BAD_CHECKSUM, BAD_LENGTH), InvalidChecksum, id="CSUM-05"),
        pytest.param((UO, ("Upload-Checksum", "")), InvalidChecksum, id="CSUM-05-empty"),
        pytest.param(
            (UO, ("Upload-Checksum", "sha1 AAAA"), ("Upload-Checksum", "md5 AAAA")),
            InvalidChecksum,
            id="row-7-checksum",
        ),
        pytest.param((UO, ("Upload-Checksum", "unknownalgo AAAA")), UnsupportedChecksumAlgorithm, id="CSUM-04"),
        pytest.param((UO, TRAILER), ChecksumTrailerUnsupported, id="CSUM-15"),
        pytest.param((UO, ("Trailer", "X-A, Upload-Checksum")), ChecksumTrailerUnsupported, id="CSUM-15-list"),
        pytest.param((UO, ("Upload-Checksum", "sha1 AAAA"), TRAILER), ChecksumTrailerUnsupported, id="CSUM-15-both"),
        pytest.param((UO, UL, ("Upload-Length", "11")), InvalidUploadLength, id="row-7-length"),
    ],
)
def test_the_first_failing_check_answers(headers: tuple[tuple[str, str], ...], error: type[TusError]) -> None:
    """Protocol.md 1.2: encoding, expectation, offset, checksum, length."""
    with pytest.raises(error) as caught:
        dialect().read(patch(*headers))
    assert error is caught.type


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "GET"])
def test_expectations_without_a_body(method: str) -> None:
    """CORE-BODY-11: no other method can meet them, either."""
    with pytest.raises(ExpectationFailed):
        dialect().read(head(method, T, EXPECT, upload_id=ID))


@pytest.mark.parametrize("value", NOT_INTEGERS)
def test_offsets_that_are_no_integers(value: str) -> None:
    """CORE-PATCH-08: 400 each."""
    with pytest.raises(InvalidOffset):
        dialect(max_size=5).read(patch(("Upload-Offset", value)))


@pytest.mark.parametrize("value", NOT_INTEGERS)
def test_lengths_that_are_no_integers(value: str) -> None:
    """DEF-09: 400 each."""
    with pytest.raises(InvalidUploadLength):
        dialect().read(patch(UO, ("Upload-Length", value)))


@pytest.mark.parametrize("value", ["9223372036854775808", "9" * 5000])
def test_lengths_beyond_all_numbers(value: str) -> None:
    """DEF-07, CRE-POST-09: where there is a limit, they exceed it."""
    with pytest.raises(MaxSizeExceeded):
        dialect(max_size=5).read(patch(UO, ("Upload-Length", value)))


def test_a_checksum() -> None:
    """CSUM-01: read along with the append."""
    intent = dialect().read(patch(UO, ("Upload-Checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="), body=11))

    assert isinstance(intent, Append)
    assert Checksum("sha1", hashlib.sha1(b"hello world").digest()) == intent.checksum


@pytest.mark.parametrize("header", [BAD_CHECKSUM, TRAILER])
def test_checksums_with_the_extension_off(header: tuple[str, str]) -> None:
    """CSUM-17: ignored, whatever they say."""
    assert Append(upload_id=ID, offset=0) == dialect(off=("checksum",)).read(patch(UO, header))


def test_the_effective_method_is_always_known() -> None:
    """CORE-OVR-04: an answer must know whether it may have a body."""
    assert "HEAD" == dialect().effective_method(post(override("head")))
    assert "POST" == dialect().effective_method(post(override("HEAD"), override("GET")))
