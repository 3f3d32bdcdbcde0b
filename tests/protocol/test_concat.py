"""The Upload-Concat header."""

from __future__ import annotations

import pytest

from tusd_py.errors import InvalidConcat
from tusd_py.models.upload import UploadKind
from tusd_py.protocol.concat import Concat, parse_concat

BASES = ("/files/",)


def parse(value: str, bases: tuple[str, ...] = BASES) -> Concat:
    return parse_concat(value, base_paths=bases, max_parts=1000)


def test_partial() -> None:
    """CAT-01: a partial upload names no parts."""
    assert Concat(UploadKind.PARTIAL) == parse("partial")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("final;http://h:1/files/a http://h:1/files/b", ("a", "b"), id="CAT-02"),
        pytest.param("final;/files/b /files/a", ("b", "a"), id="CAT-03"),
        pytest.param("final;a b", ("a", "b"), id="CAT-04-relative"),
        pytest.param("final;a /files/b http://h/files/c", ("a", "b", "c"), id="CAT-04-mixed"),
        pytest.param("final;https://other:99/files/a", ("a",), id="CAT-05-host"),
        pytest.param("final;HTTP://h/files/a //h/files/b", ("a", "b"), id="CAT-05-scheme"),
        pytest.param("final;/api/files/a https://h/x/files/b", ("a", "b"), id="CAT-05-prefix"),
        pytest.param("final;/files/a/ http://h/files/b/", ("a", "b"), id="CAT-05-slash"),
        pytest.param("final;/files/a?token=x/y#z a?b", ("a", "a"), id="CAT-05-query"),
        pytest.param("final;http://files/files/a", ("a",), id="CAT-05-host-like-path"),
        pytest.param("final;/files/files/a", ("a",), id="CAT-05-last"),
        pytest.param("final; a  b ", ("a", "b"), id="CAT-06"),
        pytest.param("final;a a", ("a", "a"), id="CAT-07"),
        pytest.param("final;a", ("a",), id="CAT-16"),
    ],
)
def test_final(value: str, expected: tuple[str, ...]) -> None:
    """CAT-02 to -07: ids in order, repetitions included."""
    assert Concat(UploadKind.FINAL, expected) == parse(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("final", id="CAT-11"),
        pytest.param("final;", id="CAT-11-nothing"),
        pytest.param("final; ", id="CAT-11-space"),
        pytest.param("final;\t", id="CAT-11-tab"),
        pytest.param("foo", id="CAT-11-foo"),
        pytest.param("PARTIAL", id="CAT-11-case"),
        pytest.param("partial;x", id="CAT-11-partial-of"),
        pytest.param("partial ", id="CAT-11-partial-space"),
        pytest.param("single", id="CAT-11-single"),
        pytest.param("final;/files/../../etc/passwd", id="CAT-18-dots"),
        pytest.param("final;%2e%2e%2f", id="CAT-18-encoded"),
        pytest.param("final;/files/%2e%2e%2fx", id="CAT-18-encoded-path"),
        pytest.param("final;/files/x%00", id="CAT-18-nul"),
        pytest.param("final;/other/a", id="CAT-18-other-mount"),
        pytest.param("final;/xfiles/a", id="CAT-18-other-name"),
        pytest.param("final;http://h/a", id="row-38-outside"),
        pytest.param("final;http://files", id="row-38-host-only"),
        pytest.param("final;/files/", id="row-38-base"),
        pytest.param("final;/files//a", id="row-38-empty-segment"),
        pytest.param("final;/files/a//", id="row-38-two-slashes"),
        pytest.param("final;/files/a/b", id="row-38-below"),
        pytest.param("final;..", id="row-38-dots"),
        pytest.param("final;a.info", id="row-38-suffix"),
        pytest.param("final;?/files/a", id="row-38-query-only"),
        pytest.param("final;é", id="row-38-non-ascii"),
        pytest.param("final;a?é", id="row-38-non-ascii-query"),
        pytest.param("final;a?\r\nX: y", id="row-38-crlf"),
        pytest.param("final;" + "a" * 129, id="row-38-long"),
        pytest.param("final;a b ../c", id="row-38-one-of-many"),
    ],
)
def test_refused(value: str) -> None:
    """CAT-11, CAT-18, row 38: nothing but an upload of this server can be named."""
    with pytest.raises(InvalidConcat):
        parse(value)


def test_several_base_paths() -> None:
    """FWD-12, CAT-05: a URL may lie below any base path of the mount, also the root."""
    bases = ("/v1/uploads/", "/public/")

    assert ("a", "b") == parse("final;/v1/uploads/a https://h/public/b", bases).parts
    assert ("a", "b") == parse("final;http://h/a /b/", ("/",)).parts
    with pytest.raises(InvalidConcat):
        parse("final;http://h", ("/",))


def test_too_many_parts() -> None:
    """Row 39: refused before a single reference is looked at."""
    with pytest.raises(InvalidConcat, match="more than 2 parts"):
        parse_concat("final;a b ../c", base_paths=BASES, max_parts=2)
    assert ("a", "b") == parse_concat("final;a b", base_paths=BASES, max_parts=2).parts


def test_two_hundred_parts() -> None:
    """CAT-17: long lists are fine."""
    ids = [f"{i:032x}" for i in range(200)]

    assert tuple(ids) == parse("final;" + " ".join(f"https://uploads.example.org/files/{i}" for i in ids)).parts
