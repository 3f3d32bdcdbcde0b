"""The Upload-Metadata header."""

from __future__ import annotations

import base64

import pytest

from tusd_py.errors import InvalidMetadata
from tusd_py.protocol.metadata import check_metadata, decode_text, parse_metadata

SIZE = 65536


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(
            "filename d29ybGQucGRm,is_confidential",
            {"filename": b"world.pdf", "is_confidential": b""},
            id="CRE-META-01",
        ),
        pytest.param("", {}, id="CRE-META-02"),
        pytest.param("a YQ==, b Yg==", {"a": b"a", "b": b"b"}, id="CRE-META-03-ows"),
        pytest.param("a YQ==,", {"a": b"a"}, id="CRE-META-03-trailing"),
        pytest.param(",a YQ==,, ,\t", {"a": b"a"}, id="CRE-META-03-leading"),
        pytest.param("key ", {"key": b""}, id="CRE-META-04-space"),
        pytest.param("key ,b Yg==", {"key": b"", "b": b"b"}, id="CRE-META-04-space-inside"),
        pytest.param("key", {"key": b""}, id="CRE-META-04"),
        pytest.param("k !!!,a YQ==", {"a": b"a"}, id="CRE-META-05-base64"),
        pytest.param("k YQ== YQ==,a YQ==", {"a": b"a"}, id="CRE-META-05-tokens"),
        pytest.param("k  YQ==,a YQ==", {"a": b"a"}, id="CRE-META-05-two-spaces"),
        pytest.param("k YQ,a YQ==", {"a": b"a"}, id="CRE-META-05-unpadded"),
        pytest.param("k _-8=,a YQ==", {"a": b"a"}, id="CRE-META-05-urlsafe"),
        pytest.param("k YR==,a YQ==", {"a": b"a"}, id="row-23-not-canonical"),
        pytest.param("a YQ==,a Yg==", {"a": b"b"}, id="CRE-META-06"),
        pytest.param("a YQ==,a !!!", {"a": b"a"}, id="CRE-META-06-last-malformed"),
        pytest.param("a,a YQ==", {"a": b"a"}, id="CRE-META-06-empty-first"),
    ],
)
def test_applications_see_what_can_be_read(header: str, expected: dict[str, bytes]) -> None:
    """CRE-META-01 to -06: malformed pairs are left out, the last of equal keys wins."""
    assert expected == parse_metadata(header)


@pytest.mark.parametrize("value", [b"a\r\nb\0", b"../../x", b"x" * 5120, b"\xff\xfe"])
def test_any_bytes_are_data(value: bytes) -> None:
    """CRE-META-09: a value can be anything and is never refused."""
    header = f"k {encoded(value)}"
    check_metadata(header, strict=True, max_size=SIZE)

    assert {"k": value} == parse_metadata(header)


def test_text_is_never_an_error() -> None:
    """CRE-META-09: what is not UTF-8 is replaced."""
    assert {"a": "ł", "b": "\ufffd"} == decode_text({"a": "ł".encode(), "b": b"\xff"})


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("a \xe9", id="CRE-META-07-latin-1"),
        pytest.param("ł YQ==", id="CRE-META-07-utf-8"),
        pytest.param("a \udce9", id="CRE-META-07-surrogateescape"),
        pytest.param("a YQ==\r\nX: y", id="row-23b-crlf"),
        pytest.param("a\x00b YQ==", id="row-23b-nul"),
        pytest.param("a\x7f YQ==", id="row-23b-del"),
        pytest.param("a\tb YQ==", id="row-23b-tab"),
        pytest.param(",".join(f"k{i}" for i in range(65)), id="row-24-pairs"),
        pytest.param("k" * 1025, id="row-24-key"),
        pytest.param("k " + "A" * SIZE, id="row-24-size"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_never_stored(header: str, strict: bool) -> None:
    """CRE-META-07, rows 23b and 24: refused whether strict or not."""
    with pytest.raises(InvalidMetadata):
        check_metadata(header, strict=strict, max_size=SIZE)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="CRE-META-02"),
        pytest.param("filename d29ybGQucGRm,is_confidential", id="CRE-META-01"),
        pytest.param("a YQ==,\tb Yg== ,", id="CRE-META-03"),
        pytest.param("key ", id="CRE-META-04"),
        pytest.param("k" * 1024, id="row-24-key"),
        pytest.param(",".join(f"k{i}" for i in range(64)) + ",,", id="row-24-pairs"),
        pytest.param("k " + "A" * (14 * 1024), id="CRE-META-10"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_always_stored(header: str, strict: bool) -> None:
    """CRE-META-01 to -04 and -10: good whether strict or not."""
    check_metadata(header, strict=strict, max_size=SIZE)


@pytest.mark.parametrize(
    "header", ["k !!!", "k YQ", "k _-8=", "k YR==", "k YQ== YQ==", "k  YQ==", "k YQ==\tx", "a YQ==,a Yg==", "a,a"]
)
def test_strictness(header: str) -> None:
    """CRE-META-05, CRE-META-06, row 23: stored by default, refused when strict."""
    check_metadata(header, strict=False, max_size=SIZE)

    with pytest.raises(InvalidMetadata):
        check_metadata(header, strict=True, max_size=SIZE)
