"""Answers of tus 1.0.0."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.requests import CT, ID, T, dialect, head, patch, post
from tusd_py import errors
from tusd_py.errors import TusError
from tusd_py.models.limits import EXTENSIONS
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.intents import Create
from tusd_py.protocol.messages import Reply, RequestHead

EXPIRES = 1403712000.0
DATE = "Wed, 25 Jun 2014 16:00:00 GMT"
URL = "https://uploads.example/files/" + ID
LINK = {"Link": f'<{URL}/result>; rel="describedby"'}
COMMON = {"Tus-Resumable": "1.0.0", "X-Content-Type-Options": "nosniff"}


def info(**fields: Any) -> UploadInfo:
    return UploadInfo(id=ID, **{"length": 100, "expires_at": EXPIRES} | fields)


def fields_of(reply: Reply) -> dict[str, str]:
    """All header fields but those that every answer has; none may be given twice."""
    fields = dict(reply.headers)
    assert len(fields) == len(reply.headers)
    assert COMMON.items() <= fields.items()
    return {name: value for name, value in fields.items() if name not in COMMON}


def test_discovered() -> None:
    """CORE-OPT-01, -03, -04, -05: 200, the version, every extension without spaces, no size without a limit."""
    reply = dialect().discovered()

    assert (200, b"") == (reply.status, reply.body)
    assert {
        "Tus-Version": "1.0.0",
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Checksum-Algorithm": "sha1,sha256,sha512,md5",
    } == fields_of(reply)


def test_discovered_with_less() -> None:
    """CORE-OPT-03, -04, -07: a limit is told, what is off is not."""
    assert {"Tus-Version": "1.0.0", "Tus-Max-Size": "0"} == fields_of(dialect(off=EXTENSIONS, max_size=0).discovered())
    assert (
        "creation-defer-length,termination,concatenation,checksum"
        == fields_of(dialect(off=("creation",), expire_after=None).discovered())["Tus-Extension"]
    )


def test_answers_do_not_share_their_headers() -> None:
    """The web room adds to an answer's headers; the next answer must not have them."""
    tus = dialect()
    for answer in (tus.discovered, tus.terminated):
        answer().headers.append(("X-A", "b"))
        assert "X-A" not in fields_of(answer())


@pytest.mark.parametrize(
    ("intent", "upload", "expected"),
    [
        pytest.param(Create(length=100), info(), {"Upload-Expires": DATE}, id="CRE-POST-01"),
        pytest.param(Create(length=0), info(length=0, state=UploadState.FINISHED), LINK, id="EXP-03"),
        pytest.param(
            Create(length=100, has_body=True, body_length=5),
            info(offset=5),
            {"Upload-Offset": "5", "Upload-Expires": DATE},
            id="CWU-01",
        ),
        pytest.param(
            Create(length=0, with_upload=True),
            info(length=0, state=UploadState.FINISHED),
            {"Upload-Offset": "0", **LINK},
            id="CWU-03",
        ),
        pytest.param(Create(), info(expires_at=None), {}, id="EXP-01-never"),
    ],
)
def test_created(intent: Create, upload: UploadInfo, expected: dict[str, str]) -> None:
    """CRE-POST-01, -07, -19, CWU-01, -03: 201 with a Location, an offset only where bytes could come along."""
    reply = dialect().created(intent, upload, URL)

    assert (201, b"") == (reply.status, reply.body)
    assert {"Location": URL, **expected} == fields_of(reply)


def test_a_location_cannot_split_the_header() -> None:
    """FWD-09: whatever it is made of."""
    reply = dialect().created(Create(), info(), "/файлы/a\r\nX-Evil: 1")

    assert "/%D1%84%D0%B0%D0%B9%D0%BB%D1%8B/a%0D%0AX-Evil:%201" == fields_of(reply)["Location"]


@pytest.mark.parametrize(
    ("upload", "expected"),
    [
        pytest.param(info(), {"Upload-Offset": "0", "Upload-Length": "100", "Upload-Expires": DATE}, id="CORE-HEAD-01"),
        pytest.param(
            info(offset=100, state=UploadState.FINISHED),
            {"Upload-Offset": "100", "Upload-Length": "100", **LINK},
            id="CORE-HEAD-02",
        ),
        pytest.param(
            info(length=None, expires_at=None), {"Upload-Offset": "0", "Upload-Defer-Length": "1"}, id="CORE-HEAD-03"
        ),
        pytest.param(
            info(length=0, state=UploadState.FINISHED, metadata="b Yg==, a ,\tc !"),
            {"Upload-Offset": "0", "Upload-Length": "0", "Upload-Metadata": "b Yg==, a ,\tc !", **LINK},
            id="CORE-HEAD-04",
        ),
        pytest.param(
            info(offset=100, state=UploadState.FINISHED, kind=UploadKind.FINAL, concat="final; a  http://h/files/b"),
            {"Upload-Offset": "100", "Upload-Length": "100", "Upload-Concat": "final; a  http://h/files/b", **LINK},
            id="CORE-HEAD-06",
        ),
        pytest.param(
            info(offset=100, state=UploadState.FINISHED, kind=UploadKind.PARTIAL, concat="partial"),
            {"Upload-Offset": "100", "Upload-Length": "100", "Upload-Concat": "partial"},
            id="EXP-09",
        ),
        pytest.param(
            info(expires_at=None, metadata="a \udce9", concat="final;\r\nX: y"),
            {"Upload-Offset": "0", "Upload-Length": "100"},
            id="CRE-META-07",
        ),
    ],
)
def test_inspected(upload: UploadInfo, expected: dict[str, str]) -> None:
    """CORE-HEAD-01 to -06, -09: 200, never cached, everything verbatim."""
    reply = dialect().inspected(upload, URL)

    assert (200, b"") == (reply.status, reply.body)
    assert {"Cache-Control": "no-store", **expected} == fields_of(reply)


def test_appended() -> None:
    """CORE-PATCH-01, EXP-02, EXP-03: 204 with the offset, and when it expires while it is unfinished."""
    reply = dialect().appended(info(offset=5), URL)
    last = dialect().appended(info(offset=100, state=UploadState.FINISHED), URL)

    assert (204, b"") == (reply.status, reply.body)
    assert {"Upload-Offset": "5", "Upload-Expires": DATE} == fields_of(reply)
    assert {"Upload-Offset": "100", **LINK} == fields_of(last)


def test_terminated() -> None:
    """TERM-01: exactly 204, empty."""
    reply = dialect().terminated()

    assert (204, b"", {}) == (reply.status, reply.body, fields_of(reply))


@pytest.mark.parametrize("options", [{"off": ("expiration",)}, {"expire_after": None}])
def test_expiry_is_not_told_when_the_extension_is_off(options: dict[str, Any]) -> None:
    """EXP-10: header absent in every answer, also for uploads made before it was turned off."""
    tus = dialect(**options)

    for reply in (
        tus.created(Create(), info(), URL),
        tus.inspected(info(), URL),
        tus.appended(info(), URL),
        tus.refused(errors.MismatchedOffset(upload=info()), patch()),
    ):
        assert "Upload-Expires" not in fields_of(reply)


TEXT = {"Content-Type": "text/plain; charset=utf-8"}
NO_STORE = {"Cache-Control": "no-store"}
INSPECT = head("HEAD", T, upload_id=ID)
OVERRIDDEN = head("POST", T, ("X-HTTP-Method-Override", "HEAD"), upload_id=ID)
GET = head("GET", upload_id=ID)


@pytest.mark.parametrize(
    ("error", "request_head", "status", "fields"),
    [
        pytest.param(errors.UnsupportedVersion(), post(), 412, TEXT | {"Tus-Version": "1.0.0"}, id="CORE-VER-01"),
        pytest.param(errors.MissingVersion(), INSPECT, 412, NO_STORE | {"Tus-Version": "1.0.0"}, id="CORE-VER-03"),
        pytest.param(errors.UploadNotFound(), INSPECT, 404, NO_STORE, id="CORE-HEAD-07"),
        pytest.param(errors.UploadNotFound(), OVERRIDDEN, 404, NO_STORE, id="CORE-OVR-04"),
        pytest.param(errors.UploadNotFound(), patch(), 404, TEXT, id="CORE-PATCH-05"),
        pytest.param(errors.UploadExpired(upload=info()), INSPECT, 410, NO_STORE, id="EXP-04"),
        pytest.param(
            errors.MethodNotAllowed(allow=("OPTIONS", "POST")), GET, 405, TEXT | {"Allow": "OPTIONS, POST"}, id="A34"
        ),
        pytest.param(
            errors.MismatchedOffset(upload=info(offset=7)),
            patch(),
            409,
            TEXT | {"Upload-Offset": "7", "Upload-Expires": DATE},
            id="CORE-PATCH-06",
        ),
        pytest.param(errors.MismatchedOffset(), patch(), 409, TEXT, id="CORE-PATCH-06-unknown"),
        pytest.param(
            errors.MismatchedOffset(upload=info(state=UploadState.FINISHED, offset=100)),
            patch(),
            409,
            TEXT | {"Upload-Offset": "100"},
            id="EXP-02-finished",
        ),
        pytest.param(
            errors.ChecksumMismatch(upload=info()), patch(), 460, TEXT | {"Upload-Expires": DATE}, id="CSUM-02"
        ),
        pytest.param(
            errors.ChecksumMismatch(upload=info()),
            head("POST", T, CT, ("X-HTTP-Method-Override", "patch"), upload_id=ID),
            460,
            TEXT | {"Upload-Expires": DATE},
            id="EXP-02-override",
        ),
        pytest.param(
            errors.UploadSizeExceeded(upload=info()), patch(), 413, TEXT | {"Upload-Expires": DATE}, id="CORE-PATCH-10"
        ),
        pytest.param(errors.UploadSizeExceeded(upload=info()), post(), 413, TEXT, id="CWU-04"),
        pytest.param(errors.MaxSizeExceeded(), post(), 413, TEXT | {"Tus-Max-Size": "400"}, id="row-3"),
        pytest.param(errors.UploadLocked(), INSPECT, 423, NO_STORE | {"Retry-After": "1"}, id="CONC-05"),
        pytest.param(errors.ServerShutdown(), patch(), 503, TEXT | {"Retry-After": "5"}, id="CORE-BODY-17"),
        pytest.param(errors.InsufficientStorage(), patch(), 507, TEXT | {"Retry-After": "30"}, id="CORE-BODY-20"),
        pytest.param(
            errors.UploadNotFound(),
            head("HEAD", ("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method-Override", "PATCH"), upload_id=ID),
            404,
            NO_STORE,
            id="row-35",
        ),
    ],
)
def test_refused(error: TusError, request_head: RequestHead, status: int, fields: dict[str, str]) -> None:
    """CORE-VER-06: an error is told in the words of tusd, with what a client needs to do better."""
    reply = dialect(max_size=400).refused(error, request_head)

    assert status == reply.status
    assert fields == fields_of(reply)
    assert (b"" if fields.keys() >= NO_STORE.keys() else f"{error.code}: {error.message}\n".encode()) == reply.body


def test_no_limit_is_told_when_there_is_none() -> None:
    """CORE-OPT-04: 2**63 - 1 is not a limit that anybody configured."""
    assert TEXT == fields_of(dialect().refused(errors.MaxSizeExceeded(), post()))


def test_the_words_of_an_error() -> None:
    """Protocol.md section 1: `ERR_CODE: message`, one line; what cannot be encoded is replaced."""
    tus = dialect()

    assert b"ERR_UPLOAD_NOT_FOUND: There is no such upload\n" == tus.refused(errors.UploadNotFound(), GET).body
    assert b"ERR_INVALID_REQUEST: a ?\n" == tus.refused(errors.InvalidRequest("a \udce9"), GET).body


def test_the_reason_of_460() -> None:
    """CSUM-02: the standard has no phrase for it."""
    tus = dialect()

    assert "Checksum Mismatch" == tus.refused(errors.ChecksumMismatch(), patch()).reason
    assert tus.refused(errors.InvalidChecksum(), patch()).reason is None


@pytest.mark.parametrize(
    ("error", "closes"),
    [
        (errors.UploadInterrupted(), True),
        (errors.ReadTimeout(), True),
        (errors.ServerShutdown(), True),
        (errors.MismatchedOffset(), False),
    ],
)
def test_closing(error: TusError, closes: bool) -> None:
    """CONC-02, CORE-BODY-07: the error knows whether the connection can be used again."""
    assert closes is dialect().refused(error, patch()).closes
