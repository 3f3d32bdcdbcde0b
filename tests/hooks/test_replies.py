"""What hooks may answer."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tusd_py.errors import HookFailed
from tusd_py.hooks.payload import checked, decode_reply
from tusd_py.models.hook import HookReply, Moment

NOTHING = HookReply()


def read(reply: object, moment: Moment = Moment.PRE_CREATE) -> HookReply:
    return decode_reply(json.dumps(reply).encode(), moment)


def refusal(reply: object, moment: Moment = Moment.PRE_CREATE) -> str:
    with pytest.raises(HookFailed) as caught:
        read(reply, moment)
    return caught.value.message


@pytest.mark.parametrize("data", [b"", b" \r\n", b"{}", b'{"Unknown": [1, {"x": null}]}', b'{"HTTPResponse": null}'])
@pytest.mark.parametrize("moment", list(Moment))
def test_an_answer_that_says_nothing_wants_nothing(data: bytes, moment: Moment) -> None:
    """Empty, an empty object, unknown names and null: the request goes on as usual."""
    assert NOTHING == decode_reply(data, moment)


@pytest.mark.parametrize(
    "data",
    [
        b"ok",
        b"[]",
        b"null",
        b'"x"',
        b"1",
        b"{",
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"{}{}",
        b"\x00",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"RejectUpload": "yes"}',
        b'{"RejectUpload": 1}',
        b'{"HTTPResponse": []}',
        b'{"HTTPResponse": {"StatusCode": "400"}}',
        b'{"HTTPResponse": {"Body": {}}}',
        b'{"HTTPResponse": {"Header": {"A": ["b"]}}}',
        b'{"ChangeFileInfo": {"MetaData": {"a": 1}}}',
        b'{"ChangeFileInfo": {"Storage": "x"}}',
    ],
)
@pytest.mark.parametrize("moment", [Moment.PRE_CREATE, Moment.PRE_FINISH])
def test_an_answer_that_cannot_be_read_is_a_failure(data: bytes, moment: Moment) -> None:
    """Garbage and wrong types never count as an agreement; the message is one short line."""
    with pytest.raises(HookFailed) as caught:
        decode_reply(data, moment)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("name", "moment", "wanted"),
    [
        ("RejectUpload", Moment.PRE_CREATE, True),
        ("RejectUpload", Moment.PRE_FINISH, True),
        ("RejectUpload", Moment.PRE_TERMINATE, False),
        ("RejectUpload", Moment.POST_RECEIVE, False),
        ("RejectUpload", Moment.POST_FINISH, False),
        ("RejectTermination", Moment.PRE_TERMINATE, True),
        ("RejectTermination", Moment.PRE_CREATE, False),
        ("StopUpload", Moment.POST_RECEIVE, True),
        ("StopUpload", Moment.PRE_CREATE, False),
        ("StopUpload", Moment.POST_CREATE, False),
    ],
)
def test_a_wish_counts_at_its_moments_only(name: str, moment: Moment, wanted: bool) -> None:
    """Rejecting, stopping: each means something at some moments, and nothing at the others."""
    reply = read({name: True}, moment)
    assert wanted is (reply.stops if name == "StopUpload" else reply.refuses)
    assert not read({name: False}, moment).is_refusal


@pytest.mark.parametrize("moment", [Moment.POST_CREATE, Moment.POST_RECEIVE, Moment.POST_FINISH, Moment.POST_TERMINATE])
def test_a_fact_cannot_be_refused(moment: Moment) -> None:
    """Where nobody waits for an answer there is none to be given."""
    assert NOTHING == read({"HTTPResponse": {"StatusCode": 403, "Body": "no"}}, moment)


def test_everything_that_can_be_wanted_is_read() -> None:
    """The fields of tusd, at pre-create."""
    reply = read(
        {
            "HTTPResponse": {"StatusCode": 202, "Body": "later", "Header": {"Content-Type": "text/x", "X-A": "b"}},
            "ChangeFileInfo": {"ID": "new-id_1", "MetaData": {"k": "vä"}, "Storage": {"Path": "project-1/abc/x.pdf"}},
        }
    )
    assert (
        HookReply(
            status=202,
            body="later",
            headers=(("Content-Type", "text/x"), ("X-A", "b")),
            upload_id="new-id_1",
            metadata={"k": "vä"},
            path="project-1/abc/x.pdf",
        )
        == reply
    )


def test_names_count_whatever_their_case() -> None:
    """Go reads them so; names of headers and metadata stay as they are. `Headers` is what tusd's own example says."""
    reply = read(
        {
            "rejectUPLOAD": True,
            "httpResponse": {"statuscode": 422, "BODY": "b", "headers": {"x-Own": "1"}},
            "changefileinfo": {"id": "abcd", "METADATA": {"Key": "v"}, "storage": {"PATH": "p"}},
        }
    )
    assert (True, 422, "b", (("x-Own", "1"),)) == (reply.refuses, reply.status, reply.body, reply.headers)
    assert ("abcd", {"Key": "v"}, "p") == (reply.upload_id, reply.metadata, reply.path)


def test_zero_values_are_not_set() -> None:
    """As in Go: an empty id, path or body and a status of 0 are none; empty metadata is metadata."""
    reply = read(
        {
            "HTTPResponse": {"StatusCode": 0, "Body": "", "Header": {}},
            "ChangeFileInfo": {"ID": "", "MetaData": {}, "Storage": {"Path": ""}},
        }
    )
    assert HookReply(metadata={}) == reply


def test_an_upload_is_changed_only_before_it_is_created() -> None:
    """ChangeFileInfo means nothing later."""
    assert NOTHING == read({"ChangeFileInfo": {"ID": "../x", "Storage": {"Path": "/etc"}}}, Moment.PRE_FINISH)


@pytest.mark.parametrize(
    "upload_id",
    ["../../etc/cron.d/x", "/etc/x", "ab", "a" * 129, "a.b", "a b", "a\nb", "äöü", "abc\x00", "abc\n", "x" * 60_000],
)
def test_an_id_is_a_plain_name(upload_id: str) -> None:
    """Row 22: no path, no suffix, nothing a file system or a log reads differently; the message stays short."""
    message = refusal({"ChangeFileInfo": {"ID": upload_id}})
    assert message.startswith("the id '")
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize("upload_id", ["abc", "A_-9", "a" * 128])
def test_a_plain_id_is_taken(upload_id: str) -> None:
    """From 3 to 128 characters."""
    assert upload_id == read({"ChangeFileInfo": {"ID": upload_id}}).upload_id


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".hidden",
        "a/.b",
        "..",
        "a\\b",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "a" * 256,
        "ä" * 128,
        "/".join(["a" * 200] * 6),
    ],
)
def test_a_path_stays_below_its_directory(path: str) -> None:
    """Row 22: relative, no step up, nothing hidden, nothing that no file system can hold."""
    message = refusal({"ChangeFileInfo": {"Storage": {"Path": path}}})
    assert message.startswith("the path '")
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize("path", ["a", "project-1/abc/x.pdf", "a..b/c d", "ü" * 127, "/".join(["a" * 203] * 5)])
def test_a_path_below_is_taken(path: str) -> None:
    """Dots inside, spaces and any language are fine."""
    assert path == read({"ChangeFileInfo": {"Storage": {"Path": path}}}).path


@pytest.mark.parametrize(
    "metadata",
    [
        {"": "a"},
        {"a b": "c"},
        {"a,b": "c"},
        {"a\nb": "c"},
        {"ä": "c"},
        {"k" * 1025: "c"},
        {f"k{n}": "" for n in range(65)},
    ],
    ids=["empty", "space", "comma", "newline", "not ASCII", "long", "many"],
)
def test_metadata_must_be_writable(metadata: dict[str, str]) -> None:
    """What cannot stand in Upload-Metadata is refused; 64 pairs are the most."""
    assert refusal({"ChangeFileInfo": {"MetaData": metadata}}).startswith("the metadata cannot be used")


@pytest.mark.parametrize("status", [-1, 1, 100, 199, 600, 10**12])
def test_a_status_is_one_of_http(status: int) -> None:
    """From 200 to 599, or 0."""
    assert "status" in refusal({"HTTPResponse": {"StatusCode": status}})


@pytest.mark.parametrize(
    ("wish", "moment", "status", "told"),
    [
        ({"RejectUpload": True}, Moment.PRE_CREATE, 200, None),
        ({"RejectUpload": True}, Moment.PRE_FINISH, 302, None),
        ({"RejectTermination": True}, Moment.PRE_TERMINATE, 204, None),
        ({"StopUpload": True}, Moment.POST_RECEIVE, 200, None),
        ({"RejectUpload": True}, Moment.PRE_CREATE, 418, 418),
        ({"StopUpload": True}, Moment.POST_RECEIVE, 418, 418),
        ({}, Moment.PRE_CREATE, 302, None),
        ({}, Moment.PRE_CREATE, 304, None),
        ({}, Moment.PRE_CREATE, 200, 200),
        ({}, Moment.PRE_FINISH, 503, 503),
    ],
)
def test_a_status_never_says_the_opposite(wish: Any, moment: Moment, status: int, told: int | None) -> None:
    """A refusal with a success or a redirect is a refusal as usual; a success is never a redirect."""
    reply = read({**wish, "HTTPResponse": {"StatusCode": status, "Body": "text"}}, moment)
    assert (told, "text") == (reply.status, reply.body)
    assert reply.is_refusal or reply.stops or not wish


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A b", "c"),
        ("", "c"),
        ("A:", "c"),
        ("A\r\nB", "c"),
        ("Ä", "c"),
        ("A", "b\r\nSet-Cookie: c"),
        ("A", "\x00"),
        ("A", "ä"),
    ],
)
def test_a_header_cannot_begin_another_one(name: str, value: str) -> None:
    """Row 55: names are tokens, values are field values."""
    assert "header" in refusal({"HTTPResponse": {"Header": {name: value}}})


@pytest.mark.parametrize("headers", [{f"X-{n}": "" for n in range(33)}, {"X-A": "b" * 8192}], ids=["many", "long"])
def test_headers_are_few(headers: dict[str, str]) -> None:
    """32 of them, 8 KiB together."""
    assert "headers" in refusal({"HTTPResponse": {"Header": headers}})


def test_headers_of_others_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Row 55: those of the connection, of tus and of CORS; one record says which, the others arrive."""
    theirs = [
        *("Connection", "transfer-encoding", "Content-Length", "UPGRADE", "Keep-Alive", "TE", "Trailer", "Location"),
        *("Proxy-Authenticate", "Tus-Version", "Upload-Offset", "upload-x", "Access-Control-Allow-Origin"),
    ]
    with caplog.at_level(logging.WARNING):
        reply = read({"HTTPResponse": {"Header": dict.fromkeys([*theirs, "X-Mine", "Set-Cookie"], "1")}})
    assert (("X-Mine", "1"), ("Set-Cookie", "1")) == reply.headers
    [record] = caplog.records
    assert "hook_header_refused" == record.__dict__["action"]
    assert all(name in record.getMessage() for name in theirs)


def test_a_body_is_short() -> None:
    """64 KiB in UTF-8."""
    assert "body" in refusal({"HTTPResponse": {"Body": "ä" * 32769}})
    assert read({"HTTPResponse": {"Body": "ä" * 32768}}).body


@pytest.mark.parametrize(
    "fields",
    [
        {"body": b"bytes"},
        {"body": "\ud800"},
        {"status": "400"},
        {"headers": (("a", 1),)},
        {"headers": {"a": "b"}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": "\ud800"}},
        {"path": "\ud800"},
        {"path": 3},
        {"upload_id": "../x"},
        {"refuses": "no"},
    ],
    ids=str,
)
def test_a_reply_made_in_python_is_checked_too(fields: Any) -> None:
    """Nothing checks the types of a function's reply but this."""
    with pytest.raises(HookFailed):
        checked(HookReply(**fields), Moment.PRE_CREATE)
