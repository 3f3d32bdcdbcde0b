"""What a refusal means to a client: of our server, for every error of ours, and of others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.protocol.answers import HTML, JSON, READERS, TEXT, answer, asked, read_creation, refusal, told
from tests.protocol.requests import ID, dialect, patch, post
from tests.protocol.test_fuzz import anything, every_error, values
from tusd_py import errors
from tusd_py.errors import TusError
from tusd_py.models.hook import HookReply
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol.tus1_client import (
    Answer,
    Denied,
    Gone,
    Mismatch,
    NotTus,
    TryAgain,
    Unauthorized,
    Verdict,
    WrongOffset,
    inspect_head,
    read_appended,
    read_standing,
    read_terminated,
    terminate_head,
)
from tusd_py.protocol.tus1_verdicts import LONGEST_SENTENCE

AS_TOLD: dict[type[TusError], type[Verdict]] = {
    errors.TusError: TryAgain,
    errors.UnsupportedVersion: NotTus,
    errors.MissingVersion: NotTus,
    errors.InvalidRequest: Denied,
    errors.InvalidFraming: Denied,
    errors.MethodNotAllowed: Denied,
    errors.ExpectationFailed: Denied,
    errors.OriginNotAllowed: Denied,
    errors.NotImplementedExtension: Denied,
    errors.InvalidContentType: Denied,
    errors.UnsupportedContentEncoding: Denied,
    errors.InvalidOffset: Denied,
    errors.InvalidUploadLength: Denied,
    errors.InvalidUploadLengthDefer: Denied,
    errors.AmbiguousUploadLength: Denied,
    errors.InvalidMetadata: Denied,
    errors.InvalidConcat: Denied,
    errors.ConcatenationUnsupported: Denied,
    errors.UploadNotFinished: Denied,
    errors.IdempotencyKeyReused: Denied,
    errors.ModifyFinal: Denied,
    errors.InvalidChecksum: Denied,
    errors.UnsupportedChecksumAlgorithm: Denied,
    errors.ChecksumTrailerUnsupported: Denied,
    errors.ChecksumMismatch: Mismatch,
    errors.TooManyUploads: TryAgain,
    errors.UploadNotFound: Gone,
    errors.UploadExpired: Gone,
    errors.UploadLocked: TryAgain,
    errors.UploadFinishing: TryAgain,
    errors.HookRefusal: TryAgain,
    errors.UploadRejected: Denied,
    errors.TerminationRejected: Denied,
    errors.UploadStopped: Denied,
    errors.RejectedBefore: Denied,
    errors.HookFailed: TryAgain,
    errors.MismatchedOffset: WrongOffset,
    errors.MaxSizeExceeded: Denied,
    errors.UploadSizeExceeded: Denied,
    errors.UploadInterrupted: TryAgain,
    errors.ReadTimeout: TryAgain,
    errors.ConnectionReset: TryAgain,
    errors.ServerShutdown: TryAgain,
    errors.InternalServerError: TryAgain,
    errors.StoreError: TryAgain,
    errors.InsufficientStorage: TryAgain,
    errors.StaleWriter: TryAgain,
    errors.StoreBusy: TryAgain,
    errors.UploadExists: Denied,
    errors.DataLost: Gone,
}
"""What each error of ours means to a client that sent bytes."""
UNTOLD = {
    errors.MismatchedOffset: Denied,
    errors.UploadInterrupted: Denied,
    errors.RejectedBefore: Gone,
    errors.DataLost: TryAgain,
}
"""What they mean in the answer to a HEAD, which has no body, where that is another thing."""


def made(error_class: type[TusError]) -> TusError:
    """An error with its usual words."""
    if error_class is errors.MethodNotAllowed:
        return errors.MethodNotAllowed(allow=("OPTIONS",))
    return error_class()


def test_every_error_of_ours_has_a_verdict() -> None:
    """A new error must not be forgotten: whether its cause can pass is for whoever adds it to say."""
    assert set(AS_TOLD) == {error for error in every_error() if error.__module__ == errors.__name__}


@pytest.mark.parametrize("error_class", AS_TOLD, ids=lambda error_class: error_class.__name__)
def test_the_refusals_of_our_server(error_class: type[TusError]) -> None:
    """Protocol.md section 13: the verdict, the code, the sentence, and when to come back."""
    error = made(error_class)
    verdict = refusal(read_appended, told(dialect().refused(error, patch())))

    assert AS_TOLD[error_class] is type(verdict)
    assert (error.status, error.code) == (verdict.status, verdict.error)
    if not isinstance(verdict, NotTus):
        assert error.message == verdict.reason
    if isinstance(verdict, TryAgain):
        assert error.retry_after == verdict.retry_after


@pytest.mark.parametrize("error_class", AS_TOLD, ids=lambda error_class: error_class.__name__)
def test_the_refusals_of_our_server_without_a_body(error_class: type[TusError]) -> None:
    """CORE-HEAD-07: a HEAD is answered with a status alone; what must not be lost does not hang on more."""
    inspect = asked("HEAD", inspect_head(), upload_id=ID)
    verdict = refusal(read_standing, told(dialect().refused(made(error_class), inspect)))

    assert UNTOLD.get(error_class, AS_TOLD[error_class]) is type(verdict)
    assert verdict.error is None
    assert verdict.reason.startswith(("HTTP ", "the "))


@pytest.mark.parametrize(
    "error_class",
    [
        errors.UploadInterrupted,
        errors.ReadTimeout,
        errors.ConnectionReset,
        errors.ServerShutdown,
        errors.UploadLocked,
    ],
)
def test_an_interruption_passes_whatever_its_status(error_class: type[TusError]) -> None:
    """A23: servers tell interruptions with 400 as well as with 500; the code says what it is."""
    told_with_400 = answer(400, f"{error_class.code}: words\n".encode(), Content_Type=TEXT)

    assert TryAgain is type(refusal(read_appended, told_with_400))


def test_what_is_known_of_a_wrong_offset() -> None:
    """A7: we say where the upload stands, others do not."""
    verdict = refusal(read_appended, told(dialect().refused(errors.MismatchedOffset(), patch())))
    assert isinstance(verdict, WrongOffset)
    assert verdict.offset is None

    known = errors.MismatchedOffset(upload=UploadInfo(id=ID, offset=7))
    verdict = refusal(read_appended, told(dialect().refused(known, patch())))
    assert isinstance(verdict, WrongOffset)
    assert 7 == verdict.offset


def test_a_creation_or_a_removal_has_no_offset() -> None:
    """A 409 to anything but a PATCH is a refusal, and not a reason to ask where the upload stands."""
    for read in (read_creation, read_standing, read_terminated):
        assert Denied is type(refusal(read, answer(409)))


@pytest.mark.parametrize(
    ("reply", "expected", "reason"),
    [
        (HookReply(status=403, body="not on a Sunday"), Denied, "not on a Sunday"),
        (HookReply(status=429, headers=(("Retry-After", "7"),)), TryAgain, "The application refused this upload"),
        (HookReply(status=401, body='{"message": "who?"}', headers=(("Content-Type", JSON),)), Unauthorized, "who?"),
        (HookReply(body="<h1>No</h1>", headers=(("Content-Type", HTML),)), Denied, "HTTP 400 Bad Request"),
    ],
)
def test_what_a_hook_of_our_server_says(reply: HookReply, expected: type[Verdict], reason: str) -> None:
    """A hook has the last word about status and body; its status decides."""
    refused = dialect().refused(errors.UploadRejected(reply=reply), post())
    verdict = refusal(read_creation, told(refused))

    assert (expected, reason) == (type(verdict), verdict.reason)


def test_removing_what_is_gone() -> None:
    """TERM-03: whoever removed it, it is not there."""
    for error in (errors.UploadNotFound(), errors.UploadExpired(), errors.RejectedBefore()):
        read_terminated(told(dialect().refused(error, asked("DELETE", terminate_head(), upload_id=ID))))


@pytest.mark.parametrize(
    ("given_answer", "expected", "reason", "error"),
    [
        pytest.param(
            answer(400, b"ERR_UPLOAD_INTERRUPTED: upload has been interrupted\n", Content_Type=TEXT),
            TryAgain,
            "upload has been interrupted",
            "ERR_UPLOAD_INTERRUPTED",
            id="tusd-taken-over",
        ),
        pytest.param(
            answer(500, b"ERR_LOCK_TIMEOUT: failed to acquire file lock before timeout\n", Content_Type=TEXT),
            TryAgain,
            "failed to acquire file lock before timeout",
            "ERR_LOCK_TIMEOUT",
            id="tusd-locked",
        ),
        pytest.param(
            answer(400, b"ERR_UPLOAD_STOPPED: upload has been stopped by server\n", Content_Type=TEXT),
            Denied,
            "upload has been stopped by server",
            "ERR_UPLOAD_STOPPED",
            id="tusd-stopped",
        ),
        pytest.param(
            answer(409, b"ERR_MISMATCHED_OFFSET: mismatched offset\n", Content_Type=TEXT),
            WrongOffset,
            "mismatched offset",
            "ERR_MISMATCHED_OFFSET",
            id="tusd-offset",
        ),
        pytest.param(
            answer(400, b"Request aborted due to lock acquired"),
            TryAgain,
            "Request aborted due to lock acquired",
            None,
            id="node-taken-over",
        ),
        pytest.param(answer(409, b"Upload-Offset conflict\n"), WrongOffset, "Upload-Offset conflict", None, id="node"),
        pytest.param(
            answer(410, b"The file for this url no longer exists\n"),
            Gone,
            "The file for this url no longer exists",
            None,
            id="node-expired",
        ),
        pytest.param(
            answer(404, b'{"detail":"Not Found"}', Content_Type=JSON), Gone, "Not Found", None, id="tuspyserver"
        ),
        pytest.param(
            answer(422, b'{"detail":[{"msg":"field required"}]}', Content_Type="application/json; charset=utf-8"),
            Denied,
            None,
            None,
            id="tuspyserver-odd",
        ),
        pytest.param(
            answer(417, b"Wrong checksum", Content_Type="text/html; charset=utf-8"),
            Mismatch,
            "Wrong checksum",
            None,
            id="rustus-checksum",
        ),
        pytest.param(
            answer(409, b"Given offset is incorrect.", Content_Type="text/html; charset=utf-8"),
            WrongOffset,
            "Given offset is incorrect",
            None,
            id="rustus-offset",
        ),
        pytest.param(
            answer(403, b'{"title": "No", "detail": "Quota\\nused up."}', Content_Type="application/problem+json"),
            Denied,
            "Quota used up",
            None,
            id="problem",
        ),
        pytest.param(
            answer(460),
            Mismatch,
            "the bytes do not have the announced checksum",
            None,
            id="460-alone",
        ),
        pytest.param(answer(502, b"<html>...", Content_Type=HTML), TryAgain, "HTTP 502 Bad Gateway", None, id="nginx"),
        pytest.param(answer(522, b"error code: 522"), TryAgain, "error code: 522", None, id="cloudflare"),
        pytest.param(answer(599), TryAgain, "HTTP 599", None, id="unnamed"),
        pytest.param(answer(403, b"<html>...", Content_Type=TEXT), Denied, "HTTP 403 Forbidden", None, id="page"),
        pytest.param(answer(403, b"a\0b"), Denied, "HTTP 403 Forbidden", None, id="binary"),
        pytest.param(answer(403, b"PNG", Content_Type="image/png"), Denied, "HTTP 403 Forbidden", None, id="picture"),
        pytest.param(answer(403, b"[1]", Content_Type=JSON), Denied, "HTTP 403 Forbidden", None, id="list"),
        pytest.param(
            answer(403, b"\n a\tb \x1b[31m\xe2\x80\xae \xff.\r\nmore"), Denied, "a b [31m �", None, id="colours"
        ),
        pytest.param(answer(400, b"ERR_X"), Denied, "HTTP 400 Bad Request", "ERR_X", id="code-alone"),
        pytest.param(answer(400, b"FATAL ERR_READ_TIMEOUT"), Denied, "FATAL ERR_READ_TIMEOUT", None, id="not-a-code"),
        pytest.param(answer(401), Unauthorized, "HTTP 401 Unauthorized", None, id="401"),
        pytest.param(answer(407), Denied, "HTTP 407 Proxy Authentication Required", None, id="407"),
        pytest.param(answer(408), TryAgain, "HTTP 408 Request Timeout", None, id="408"),
        pytest.param(answer(425), TryAgain, "HTTP 425 Too Early", None, id="425"),
        pytest.param(answer(501), Denied, "HTTP 501 Not Implemented", None, id="501"),
        pytest.param(answer(505), Denied, "HTTP 505 HTTP Version Not Supported", None, id="505"),
        pytest.param(answer(511), TryAgain, "HTTP 511 Network Authentication Required", None, id="511"),
        pytest.param(answer(412), NotTus, "the server does not speak tus 1.0.0", None, id="412"),
        pytest.param(
            answer(412, Tus_Version="0.2.2"), NotTus, "the server does not speak tus 1.0.0, but 0.2.2", None, id="old"
        ),
        pytest.param(
            answer(308, Location="https://other.example/\x1b[2J"),
            NotTus,
            "the server redirects to https://other.example/ [2J; use that URL",
            None,
            id="308",
        ),
        pytest.param(answer(304), NotTus, "HTTP 304 Not Modified is no answer of a tus server", None, id="304"),
    ],
)
def test_the_refusals_of_others(
    given_answer: Answer, expected: type[Verdict], reason: str | None, error: str | None
) -> None:
    """Protocol.md Part A: statuses and bodies of tusd, @tus/server, tuspyserver, rustus and what stands before them."""
    verdict = refusal(read_appended, given_answer)

    assert (expected, given_answer.status, error) == (type(verdict), verdict.status, verdict.error)
    assert reason in (None, verdict.reason)


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("0", "", 0.0),
        (" 120 ", "", 120.0),
        ("3601", "", 3600.0),
        ("9999999999", "", 3600.0),
        ("9" * 400, "", None),
        ("-1", "", None),
        ("1.5", "", None),
        ("٣", "", None),
        ("soon", "", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT", 60.0),
        ("Friday, 31-Dec-99 23:59:59 GMT", "Fri Dec 31 23:58:59 1999", 60.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT", 3600.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "today", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT", None),
        ("Fri, 31 Foo 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT", None),
    ],
)
def test_retry_after(value: str, date: str, expected: float | None) -> None:
    """RFC 9110 10.2.3: seconds or a date, which the clock of the server itself is compared with; at most an hour."""
    verdict = refusal(read_appended, answer(503, Retry_After=value, Date=date))

    assert isinstance(verdict, TryAgain)
    assert expected == verdict.retry_after


@given(st.integers(200, 999), st.binary(max_size=600), values, values, anything)
def test_whatever_is_answered(status: int, body: bytes, one: str, two: str, words: str) -> None:
    """I20: nothing but a verdict is raised, and its reason can be shown to a person."""
    names = ("Location", "Upload-Offset", "Upload-Length", "Retry-After", "Date", "Tus-Version", "Upload-Concat")
    bodies = (body, words.encode(errors="replace"), b'{"message": "' + body + b'"}')
    for kind, content in zip((one, TEXT, JSON), bodies, strict=True):
        fields = CIMultiDict([*((name, one) for name in names), ("Retry-After", two), ("Content-Type", kind)])
        for read in READERS:
            verdict = verdict_of(read, Answer(status, fields, content))
            if verdict is not None:
                assert 0 < len(verdict.reason) <= LONGEST_SENTENCE + 60
                assert verdict.reason.isprintable()
                assert status == verdict.status


def verdict_of(read: Callable[[Answer], object], given_answer: Answer) -> Verdict | None:
    """The verdict that a reader raises, if it does."""
    try:
        read(given_answer)
    except Verdict as verdict:
        return verdict
    return None


def test_a_body_that_nests_too_deep() -> None:
    """I20: JSON that is there to hurt is not quoted."""
    verdict = refusal(read_appended, answer(400, b'{"a":' + b"[" * 4000, Content_Type=JSON))

    assert "HTTP 400 Bad Request" == verdict.reason
