"""Header values, strictly."""

from __future__ import annotations

import locale

import pytest
from multidict import CIMultiDict

from tusd_py.errors import InvalidOffset
from tusd_py.protocol import headers

NOT_INTEGERS = [
    "", "-1", "-0", "+0", "+1", " 1", "1 ", "1\n", "1.0", "1.5", "1e3", "0x10", "1_0", "1,1", "0, 0", "NaN", "abc",
    "٣", "²", "\uff10", "\xa01", "9223372036854775808", "99999999999999999999", "9" * 5000, "0" * 20,
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_INTEGERS)
def test_what_is_not_an_integer_is_refused(value: str) -> None:
    """CORE-PATCH-08, CRE-POST-08, row 1: only ASCII digits, at most 19, at most 2**63 - 1."""
    with pytest.raises(InvalidOffset):
        headers.parse_integer(value, InvalidOffset)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("0005", 5), ("9223372036854775807", 2**63 - 1), ("0000000000000000001", 1)],
)
def test_integers(value: str, expected: int) -> None:
    """CORE-PATCH-09, CRE-POST-10: leading zeros are fine, and so is the largest number."""
    assert expected == headers.parse_integer(value, InvalidOffset)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9223372036854775808", True),
        ("09223372036854775808", True),
        ("1" + "0" * 19, True),
        ("9" * 5000, True),
        ("9223372036854775807", False),
        ("0" * 5000, False),
        ("0" * 30 + "5", False),
        ("", False),
        ("-9223372036854775808", False),
        ("²" * 30, False),
    ],
)
def test_beyond_integer(value: str, expected: bool) -> None:
    """CRE-POST-09: a number that is too large is told from what is no number."""
    assert expected is headers.is_beyond_integer(value)


def test_a_field_given_twice_with_one_value_is_given_once() -> None:
    """Row 7: equal values are one value, case of the name ignored."""
    twice = CIMultiDict([("Upload-Offset", "5"), ("upload-offset", "5")])

    assert "5" == headers.single_value(twice, "Upload-Offset", InvalidOffset)
    assert headers.single_value(CIMultiDict(), "Upload-Offset", InvalidOffset) is None


def test_a_field_that_contradicts_itself_is_refused() -> None:
    """Row 7: different values are the error of the field."""
    twice = CIMultiDict([("Upload-Offset", "5"), ("Upload-Offset", "6")])

    with pytest.raises(InvalidOffset):
        headers.single_value(twice, "Upload-Offset", InvalidOffset)


def test_lines_of_a_list_are_joined() -> None:
    """CRE-META-08: two lines are one list; an empty line adds nothing."""
    lines = CIMultiDict([("Upload-Metadata", "a YQ=="), ("Upload-Metadata", ""), ("Upload-Metadata", "b Yg==")])

    assert "a YQ==,b Yg==" == headers.joined_value(lines, "Upload-Metadata")
    assert "" == headers.joined_value(CIMultiDict(), "Upload-Metadata")


def test_members_of_a_list() -> None:
    """RFC 9110 5.6.1: whitespace around and empty elements are dropped."""
    assert ["a", "b c", "d"] == headers.list_members([",a ,\tb c,, ", "d"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/offset+octet-stream", True),
        ("Application/Offset+Octet-Stream", True),
        ("application/offset+octet-stream; charset=utf-8", True),
        ("application/offset+octet-stream ;a=b", True),
        ("application/octet-stream", False),
        ("application/offset+octet-streams", False),
        ("application/offset+octet-stream, text/plain", False),
        ("", False),
    ],
)
def test_media_types(value: str, expected: bool) -> None:
    """CORE-PATCH-03, CORE-PATCH-04: case and parameters are ignored, nothing else is."""
    assert expected is headers.is_media_type(value, "application/offset+octet-stream")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1403712000, "Wed, 25 Jun 2014 16:00:00 GMT"),
        (1403712000.999999, "Wed, 25 Jun 2014 16:00:00 GMT"),
        (-5, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (float("inf"), "Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_imf_fixdate(seconds: float, expected: str) -> None:
    """EXP-01: a time is never announced later than it is, and always has four digits for the year."""
    assert expected == headers.imf_fixdate(seconds)


def test_imf_fixdate_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """EXP-01: whatever TZ and locale say."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    before = locale.setlocale(locale.LC_TIME)
    try:
        try:
            locale.setlocale(locale.LC_TIME, "de_DE.UTF-8")
        except locale.Error:
            locale.setlocale(locale.LC_TIME, "C.UTF-8")
        assert "Wed, 25 Jun 2014 16:00:00 GMT" == headers.imf_fixdate(1403712000)
    finally:
        locale.setlocale(locale.LC_TIME, before)


@pytest.mark.parametrize(
    "value",
    [
        "", ".", "..", "a.b", "x.info", "x.tmp", "../x", "..\\x", "a/b", "a%2fb", "a\x00b", "a b", "a\n", "é",
        "\udcc0\udcae", "a" * 129, "a" * 4096,
    ],
)  # fmt: skip
def test_what_cannot_be_an_id(value: str) -> None:
    """Row 16, GET-15: an id is never a path nor a file name with a suffix."""
    assert not headers.is_plain_id(value)


@pytest.mark.parametrize("value", ["a", "A-z_9", "a" * 128])
def test_what_can_be_an_id(value: str) -> None:
    """Ids are URL-safe names."""
    assert headers.is_plain_id(value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://a.example:8443/files/abc?x=%20#f", "https://a.example:8443/files/abc?x=%20#f"),
        ("http://[2001:db8::1]/files/a", "http://[2001:db8::1]/files/a"),
        ("/фото/a", "/%D1%84%D0%BE%D1%82%D0%BE/a"),
        ("/a b\r\nX: y", "/a%20b%0D%0AX:%20y"),
        ("/\udcff\ud800", "/??"),
    ],
)
def test_uri_values(uri: str, expected: str) -> None:
    """FWD-09: whatever a URL is made of, it cannot split a header."""
    assert expected == headers.uri_value(uri)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", b""),
        ("YQ==", b"a"),
        ("/+8=", b"\xff\xef"),
        ("YQ", None),
        ("YR==", None),
        ("!!YQ==", None),
        ("Y Q==", None),
        ("YQ==x", None),
        ("YQ==YQ==", None),
        ("_-8=", None),
        ("YQ==\n", None),
        ("é", None),
        ("\udcff", None),
    ],
)
def test_base64(value: str, expected: bytes | None) -> None:
    """Row 23, Python traps: canonical and padded, or nothing."""
    assert expected == headers.decode_base64(value)
