"""What an answer that is no success means to a client of tus 1.0.0: try again, begin anew, or stop and say why.

Servers differ in what they say (protocol: sections 13 and 14), so a status counts before a body. A body counts where
it names a code like `ERR_UPLOAD_INTERRUPTED`, which tusd and we do, and as the sentence that a person is shown.
"""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus

import msgspec

from tusd_py.protocol.messages import HeaderMap

LONGEST_SENTENCE = 300
"""Most characters of a stranger's sentence that are shown."""
LONGEST_WAIT = 3600.0
"""Most seconds that a `Retry-After` is believed."""

_WORTH_ANOTHER_TRY = frozenset({408, 423, 425, 429})
_FINAL = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})
_INTERRUPTIONS = frozenset(
    {
        "ERR_UPLOAD_INTERRUPTED",
        "ERR_READ_TIMEOUT",
        "ERR_CONNECTION_RESET",
        "ERR_SERVER_SHUTDOWN",
        "ERR_UPLOAD_LOCKED",
        "ERR_LOCK_TIMEOUT",
    }
)
# @tus/server names no codes; this is its 400 for what tusd calls ERR_UPLOAD_INTERRUPTED.
_INTERRUPTED = "Request aborted due to lock acquired"
_REJECTED = "ERR_UPLOAD_REJECTED"
# A new upload has a future where the data of this one is lost.
_LOST = "ERR_DATA_LOST"
_CODE_AND_SENTENCE = re.compile(r"(ERR_[A-Z0-9_]+)(?::\s*(.*))?")
_SECONDS = re.compile(r"[0-9]{1,10}")
_JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")
_SENTENCES_IN_JSON = ("detail", "message", "error", "title")


class Answer(msgspec.Struct, frozen=True):
    """What came back, whoever sent it."""

    status: int
    headers: HeaderMap
    body: bytes = b""
    """The beginning of the body; 4 KiB are plenty."""


class Verdict(Exception):
    """What was asked for has not happened."""

    def __init__(self, reason: str, *, status: int | None = None, error: str | None = None) -> None:
        self.reason = reason
        """Why, for a person: one printable line without a full stop."""
        self.status = status
        """HTTP status; None = no answer came."""
        self.error = error
        """The server's own code (`ERR_...`), when it named one."""
        super().__init__(reason)


class TryAgain(Verdict):
    """The same request may be answered better later."""

    def __init__(
        self, reason: str, *, status: int | None = None, error: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(reason, status=status, error=error)
        self.retry_after = retry_after
        """Seconds that the server wants to be left alone, at most an hour; None = it does not say."""


class WrongOffset(Verdict):
    """The upload stands at another offset than the bytes that were sent."""

    def __init__(self, reason: str, *, status: int, error: str | None = None, offset: int | None = None) -> None:
        super().__init__(reason, status=status, error=error)
        self.offset = offset
        """Where it stands, when the server says so."""


class Gone(Verdict):
    """There is no such upload, or there is no longer. To a creation: nothing is at this URL, or a part is gone."""


class Mismatch(Verdict):
    """The bytes that arrived do not have the announced checksum; none of them was kept."""


class Denied(Verdict):
    """The server said no, and would say it again."""

    status: int

    def __init__(self, reason: str, *, status: int, error: str | None = None) -> None:
        super().__init__(reason, status=status, error=error)


class Unauthorized(Denied):
    """The server wants to know who asks, or knows better than the token."""


class NotTus(Verdict):
    """Whoever answered does not speak tus 1.0.0 at this URL."""


def verdict_on(answer: Answer) -> Verdict:
    """Return what an answer means that is not a success, whatever was asked for: never `WrongOffset`."""
    status = answer.status
    error, sentence = _explanation(answer)
    reason = sentence or _name(status)
    if status < 400:
        return NotTus(_redirection(answer), status=status)
    if _is_passing(status, error, sentence):
        return TryAgain(reason, status=status, error=error, retry_after=_retry_after(answer.headers))
    if (status in (404, 410) and error != _REJECTED) or error == _LOST:
        return Gone(reason, status=status, error=error)
    # rustus says it with 417, which elsewhere is about an Expect header.
    if status == 460 or (status == 417 and "checksum" in sentence):
        return Mismatch(sentence or "the bytes do not have the announced checksum", status=status, error=error)
    if status == 412:
        return NotTus(_other_versions(answer), status=status, error=error)
    denied = Unauthorized if status == 401 else Denied
    return denied(reason, status=status, error=error)


def one_line(text: str) -> str:
    """Return a stranger's words as they may be shown: one line, printable, not long, without a full stop."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if len(words) > LONGEST_SENTENCE:
        return words[: LONGEST_SENTENCE - 1] + "…"
    return words.removesuffix(".")


def _is_passing(status: int, error: str | None, sentence: str) -> bool:
    if status >= 500:
        return status not in _FINAL and error != _LOST
    return status in _WORTH_ANOTHER_TRY or error in _INTERRUPTIONS or (status == 400 and sentence == _INTERRUPTED)


def _name(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _redirection(answer: Answer) -> str:
    target = one_line(answer.headers.get("Location") or "")
    if answer.status >= 300 and target:
        return f"the server redirects to {target}; use that URL"
    return f"{_name(answer.status)} is no answer of a tus server"


def _other_versions(answer: Answer) -> str:
    versions = one_line(", ".join(answer.headers.getall("Tus-Version", ())))
    return f"the server does not speak tus 1.0.0{f', but {versions}' if versions not in ('', '1.0.0') else ''}"


def _explanation(answer: Answer) -> tuple[str | None, str]:
    """Return the code and the sentence of a body; None and empty where it has none that a person could read."""
    line = one_line(_first_line(answer))
    named = _CODE_AND_SENTENCE.fullmatch(line)
    return (named[1], named[2] or "") if named else (None, line)


def _first_line(answer: Answer) -> str:
    """Return the first line of a text, or the sentence in a JSON object. Nobody wants to read pages and binary."""
    kind = (answer.headers.get("Content-Type") or "text/plain").partition(";")[0].strip(" \t").lower()
    # rustus calls its sentences text/html.
    if kind in ("text/plain", "text/html"):
        text = answer.body.decode(errors="replace").strip()
        return "" if text.startswith("<") or "\0" in text else text.partition("\n")[0]
    if _JSON.fullmatch(kind):
        return _sentence_in_json(answer.body)
    return ""


def _sentence_in_json(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    found = [value for name in _SENTENCES_IN_JSON if isinstance(value := said.get(name), str)]
    return found[0] if found else ""


def _retry_after(headers: HeaderMap) -> float | None:
    """Return the seconds of `Retry-After`, a number or a date (RFC 9110 10.2.3).

    A date is compared with that of the answer itself, so no clock of ours has to agree with the server's.
    """
    value = (headers.get("Retry-After") or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WAIT)
    then, now = _moment(value), _moment(headers.get("Date") or "")
    return None if then is None or now is None else min(max(then - now, 0.0), LONGEST_WAIT)


def _moment(value: str) -> float | None:
    """Return an HTTP date as seconds since the Unix epoch, or None when it is none."""
    try:
        parsed = parsedate_tz(value)
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
