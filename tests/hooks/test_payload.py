"""What hooks are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hooks.events import event
from tusd_py.hooks.payload import PayloadStyle, Storage, encode
from tusd_py.models.hook import Moment, RequestInfo
from tusd_py.models.upload import UploadKind

STORAGE = Storage(path="/data/abc123")


def sent(
    *args: Any, style: PayloadStyle = PayloadStyle.TUSD_V2, storage: Storage | None = STORAGE, **fields: Any
) -> Any:
    return json.loads(encode(event(*args, **fields), style=style, storage=storage))


def test_event_looks_as_that_of_tusd_v2() -> None:
    """Every name, type and spelling is tusd's: scripts written for it read it."""
    assert {
        "Type": "post-finish",
        "Event": {
            "Upload": {
                "ID": "abc123",
                "Size": 11,
                "SizeIsDeferred": False,
                "Offset": 11,
                "MetaData": {"filename": "a.png", "empty": ""},
                "IsPartial": False,
                "IsFinal": False,
                "PartialUploads": None,
                "Storage": {"Type": "filestore", "Path": "/data/abc123", "InfoPath": ""},
            },
            "HTTPRequest": {
                "Method": "PATCH",
                "URI": "/files/abc123?x=1",
                "RemoteAddr": "192.0.2.7:59395",
                "Header": {
                    "Host": ["localhost:8080"],
                    "Tus-Resumable": ["1.0.0"],
                    "X-Request-Id": ["r1"],
                    "Accept": ["a", "b"],
                },
            },
        },
    } == sent()


def test_event_of_the_old_style_has_no_type_and_no_event_around() -> None:
    """As tusd v1: the upload and the request stand at the top."""
    old = sent(style=PayloadStyle.TUSD_V1)
    assert ["Upload", "HTTPRequest"] == list(old)
    assert sent()["Event"] == old


def test_an_upload_that_is_not_created_yet_has_no_id_and_no_storage() -> None:
    """At pre-create both may still be chosen by the hook."""
    upload = sent(Moment.PRE_CREATE, offset=0)["Event"]["Upload"]
    assert ("", None) == (upload["ID"], upload["Storage"])


def test_an_unknown_length_is_told_as_in_go() -> None:
    """Deferred: a size of 0 and a flag."""
    upload = sent(length=None)["Event"]["Upload"]
    assert (0, True) == (upload["Size"], upload["SizeIsDeferred"])


def test_concatenation_is_told() -> None:
    """A part says that it is one, a final upload names its parts."""
    assert sent(kind=UploadKind.PARTIAL)["Event"]["Upload"]["IsPartial"]
    final = sent(kind=UploadKind.FINAL, parts=("a", "b"))["Event"]["Upload"]
    assert (True, ["a", "b"]) == (final["IsFinal"], final["PartialUploads"])


def test_no_storage_is_null() -> None:
    """A store that is no file system has no paths."""
    assert sent(storage=None)["Event"]["Upload"]["Storage"] is None


@pytest.mark.parametrize("text", ["\udcff", "\x00", "\n", "$(id)", "'; rm -rf /"])
def test_whatever_a_client_sends_arrives_as_text(text: str) -> None:
    """Bytes that are no UTF-8 become U+FFFD; nothing else is changed, and it is JSON in any case."""
    request = RequestInfo(uri=f"/{text}", headers=(("x-a", text), (f"b{text} c", "")))
    told = sent(request=request, metadata="a /w==")["Event"]
    legible = text.replace("\udcff", "\ufffd")
    assert f"/{legible}" == told["HTTPRequest"]["URI"]
    assert {"X-A": [legible], f"b{legible} c": [""]} == told["HTTPRequest"]["Header"]
    assert {"a": "\ufffd"} == told["Upload"]["MetaData"]
