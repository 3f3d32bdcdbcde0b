"""POST: creating uploads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.requests import CT, T, dialect, head, post
from tests.protocol.test_headers import NOT_INTEGERS
from tusd_py.errors import (
    AmbiguousUploadLength,
    ChecksumTrailerUnsupported,
    ConcatenationUnsupported,
    ExpectationFailed,
    InvalidChecksum,
    InvalidConcat,
    InvalidContentType,
    InvalidMetadata,
    InvalidUploadLength,
    InvalidUploadLengthDefer,
    MaxSizeExceeded,
    ModifyFinal,
    NotImplementedExtension,
    TusError,
    UnsupportedChecksumAlgorithm,
    UnsupportedContentEncoding,
)
from tusd_py.models.upload import UploadKind
from tusd_py.protocol.intents import Checksum, Create
from tusd_py.protocol.messages import RequestHead

UL = ("Upload-Length", "10")
DEFER = ("Upload-Defer-Length", "1")
PARTIAL = ("Upload-Concat", "partial")
FINAL = ("Upload-Concat", "final;/files/a b")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
SUM = ("Upload-Checksum", "sha1 AAAA")
BYTES: dict[str, Any] = {"has_body": True, "with_upload": True}
JOINED: dict[str, Any] = {"kind": UploadKind.FINAL, "concat": FINAL[1], "parts": ("a", "b")}


def metadata(value: str) -> tuple[str, str]:
    return ("Upload-Metadata", value)


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        pytest.param(post(UL), Create(length=10), id="CRE-POST-01"),
        pytest.param(post(("Upload-Length", "0")), Create(length=0), id="CRE-POST-07"),
        pytest.param(post(("Upload-Length", str(2**63 - 1))), Create(length=2**63 - 1), id="CRE-POST-10"),
        pytest.param(post(DEFER), Create(length=None), id="DEF-01"),
        pytest.param(post(UL, ("Upload-Offset", "x")), Create(length=10), id="CRE-POST-16"),
        pytest.param(post(UL, FORM), Create(length=10), id="CRE-POST-17"),
        pytest.param(post(UL, FORM, ("Content-Encoding", "gzip")), Create(length=10), id="CRE-POST-17-encoding"),
        pytest.param(post(UL, metadata("a YQ==, b")), Create(length=10, metadata="a YQ==, b"), id="CRE-META-01"),
        pytest.param(post(UL, metadata("")), Create(length=10), id="CRE-META-02"),
        pytest.param(post(UL, metadata("k !!!")), Create(length=10, metadata="k !!!"), id="CRE-META-05"),
        pytest.param(
            post(UL, metadata("a YQ=="), metadata("b Yg==")),
            Create(length=10, metadata="a YQ==,b Yg=="),
            id="CRE-META-08",
        ),
        pytest.param(post(UL, CT, body=5), Create(length=10, body_length=5, **BYTES), id="CWU-01"),
        pytest.param(post(("Upload-Length", "0"), CT), Create(length=0, with_upload=True), id="CWU-03"),
        pytest.param(post(DEFER, CT, body=5), Create(body_length=5, **BYTES), id="CWU-06"),
        pytest.param(
            post(UL, PARTIAL, CT, body=5),
            Create(kind=UploadKind.PARTIAL, concat="partial", length=10, body_length=5, **BYTES),
            id="CWU-08",
        ),
        pytest.param(post(UL, CT, body=None), Create(length=10, body_length=None, **BYTES), id="CWU-09"),
        pytest.param(
            post(UL, CT, SUM, body=5),
            Create(length=10, body_length=5, checksum=Checksum("sha1", b"\0\0\0"), **BYTES),
            id="CSUM-12",
        ),
        pytest.param(post(UL, ("Upload-Checksum", "tiger x")), Create(length=10), id="CSUM-13"),
        pytest.param(
            post(UL, CT, ("Trailer", "Upload-Checksum")), Create(length=10, with_upload=True), id="CSUM-13-trailer"
        ),
        pytest.param(post(UL, PARTIAL), Create(kind=UploadKind.PARTIAL, concat="partial", length=10), id="CAT-01"),
        pytest.param(post(FINAL), Create(**JOINED), id="CAT-02"),
        pytest.param(post(FINAL, CT, metadata("a")), Create(metadata="a", **JOINED), id="CAT-14"),
        pytest.param(post(UL, ("Upload-Concat", "")), Create(length=10), id="CAT-11-empty"),
        pytest.param(post(DEFER, PARTIAL), Create(kind=UploadKind.PARTIAL, concat="partial"), id="CAT-22"),
    ],
)
def test_creations(request_head: RequestHead, expected: Create) -> None:
    """What a good POST means."""
    assert expected == dialect().read(request_head)


@pytest.mark.parametrize(
    ("request_head", "error"),
    [
        pytest.param(post(), InvalidUploadLength, id="CRE-POST-13"),
        pytest.param(post(UL, DEFER), AmbiguousUploadLength, id="CRE-POST-12"),
        pytest.param(post(("Upload-Length", "x"), DEFER), AmbiguousUploadLength, id="CRE-POST-12-garbage"),
        pytest.param(post(("Upload-Defer-Length", "0")), InvalidUploadLengthDefer, id="CRE-POST-14-0"),
        pytest.param(post(("Upload-Defer-Length", "2")), InvalidUploadLengthDefer, id="CRE-POST-14-2"),
        pytest.param(post(("Upload-Defer-Length", "true")), InvalidUploadLengthDefer, id="CRE-POST-14-true"),
        pytest.param(post(("Upload-Defer-Length", "")), InvalidUploadLengthDefer, id="CRE-POST-14-empty"),
        pytest.param(post(DEFER, ("Upload-Defer-Length", "2")), InvalidUploadLengthDefer, id="row-7-defer"),
        pytest.param(post(UL, ("Upload-Length", "11")), InvalidUploadLength, id="row-7-length"),
        pytest.param(post(UL, metadata("k \udce9")), InvalidMetadata, id="CRE-META-07"),
        pytest.param(post(UL, metadata("k" * 1025)), InvalidMetadata, id="row-24"),
        pytest.param(post(UL, ("Content-Type", "application/false"), body=5), InvalidContentType, id="CWU-05"),
        pytest.param(post(UL, body=5), InvalidContentType, id="CWU-05-missing"),
        pytest.param(post(UL, FORM, body=None), InvalidContentType, id="CWU-05-chunked"),
        pytest.param(post(CT, FINAL, body=5), ModifyFinal, id="CWU-07"),
        pytest.param(post(CT, FINAL, UL, body=5), ModifyFinal, id="CWU-07-length"),
        pytest.param(post(UL, CT, ("Content-Encoding", "gzip"), body=5), UnsupportedContentEncoding, id="row-12"),
        pytest.param(post(UL, ("Expect", "x")), ExpectationFailed, id="CORE-BODY-11"),
        pytest.param(post(UL, CT, ("Upload-Checksum", "sha1"), body=5), InvalidChecksum, id="CSUM-05"),
        pytest.param(post(UL, CT, ("Upload-Checksum", "x AAAA"), body=5), UnsupportedChecksumAlgorithm, id="CSUM-12"),
        pytest.param(post(UL, CT, ("Trailer", "Upload-Checksum"), body=None), ChecksumTrailerUnsupported, id="CSUM-15"),
        pytest.param(post(UL, ("Upload-Concat", "foo")), InvalidConcat, id="CAT-11"),
        pytest.param(post(UL, PARTIAL, FINAL), InvalidConcat, id="row-7-concat"),
        pytest.param(post(PARTIAL), InvalidUploadLength, id="CAT-01-no-length"),
        pytest.param(post(FINAL, UL), InvalidConcat, id="CAT-12"),
        pytest.param(post(FINAL, ("Upload-Length", "x")), InvalidConcat, id="CAT-12-garbage"),
        pytest.param(post(FINAL, DEFER), InvalidConcat, id="CAT-12-defer"),
    ],
)
def test_refusals(request_head: RequestHead, error: type[TusError]) -> None:
    """The first failing check answers."""
    with pytest.raises(error) as caught:
        dialect().read(request_head)
    assert error is caught.type


@pytest.mark.parametrize("value", NOT_INTEGERS)
def test_lengths_that_are_no_integers(value: str) -> None:
    """CRE-POST-08, CRE-POST-09, row 1: 400 each."""
    with pytest.raises(InvalidUploadLength):
        dialect().read(post(("Upload-Length", value)))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("9223372036854775808", MaxSizeExceeded),
        ("9" * 5000, MaxSizeExceeded),
        ("-5", InvalidUploadLength),
        ("0" * 20, InvalidUploadLength),
    ],
)
def test_lengths_beyond_all_numbers(value: str, error: type[TusError]) -> None:
    """CRE-POST-09: with a limit, what is larger than any number exceeds it; garbage stays garbage."""
    with pytest.raises(error):
        dialect(max_size=5).read(post(("Upload-Length", value)))


@pytest.mark.parametrize(
    ("request_head", "options", "error"),
    [
        pytest.param(post(DEFER), {"off": ("creation-defer-length",)}, NotImplementedExtension, id="CRE-POST-15"),
        pytest.param(post(UL, CT, body=5), {"off": ("creation-with-upload",)}, NotImplementedExtension, id="CWU-off"),
        pytest.param(post(UL, PARTIAL), {"off": ("concatenation",)}, ConcatenationUnsupported, id="CAT-21-partial"),
        pytest.param(post(FINAL), {"off": ("concatenation",)}, ConcatenationUnsupported, id="CAT-21-final"),
        pytest.param(post(UL, metadata("k !!!")), {"strict_metadata": True}, InvalidMetadata, id="CRE-META-05"),
        pytest.param(post(UL, metadata("a,a")), {"strict_metadata": True}, InvalidMetadata, id="CRE-META-06"),
        pytest.param(post(UL, metadata("abc")), {"max_metadata_size": 2}, InvalidMetadata, id="row-24"),
        pytest.param(post(FINAL), {"max_parts": 1}, InvalidConcat, id="row-39"),
    ],
)
def test_switches(request_head: RequestHead, options: dict[str, Any], error: type[TusError]) -> None:
    """What is fine by default and refused by configuration."""
    assert isinstance(dialect().read(request_head), Create)

    with pytest.raises(error):
        dialect(**options).read(request_head)


def test_without_creation_with_upload_an_empty_body_is_a_plain_creation() -> None:
    """CWU-03, CORE-OPT-07: the media type means nothing then."""
    assert Create(length=10) == dialect(off=("creation-with-upload",)).read(post(UL, CT))


def test_checksum_off_on_creation() -> None:
    """CSUM-17: ignored."""
    request_head = post(UL, CT, ("Upload-Checksum", "x"), body=5)

    assert Create(length=10, body_length=5, **BYTES) == dialect(off=("checksum",)).read(request_head)


def test_references_are_resolved_by_the_base_paths_of_the_request() -> None:
    """CAT-05, FWD-12: a mount may be reached by several paths."""
    request_head = head("POST", T, ("Upload-Concat", "final;/up/a /api/b"), base_paths=("/up/", "/api/"))
    intent = dialect().read(request_head)

    assert isinstance(intent, Create)
    assert ("a", "b") == intent.parts
