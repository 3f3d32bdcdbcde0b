"""What came back over a connection: answers, one behind the other, or a reason why they are none."""

from __future__ import annotations

import re
from dataclasses import dataclass

from multidict import CIMultiDict

from tests.faults.fuzzing.rules import TOKEN
from tusd_py.errors import TusError

# aiohttp repeats the version of a request, also of one that is refused for it.
_STATUS = re.compile(rb"HTTP/(?:1\.[01] ([1-5][0-9]{2})|(?:0\.9|2\.0) (4[0-9]{2})) [\t\x20-\x7e]*")
_FIELD = re.compile(rb"(" + TOKEN + rb"):[\t ]*([\t\x20-\x7e]*)")
_BODILESS = frozenset({100, 204, 304})


class Malformed(Exception):
    """These bytes are no answers."""


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


def documented() -> frozenset[int]:
    """Return every status that a request may be answered with when nothing is wrong with the server."""
    found: list[type[TusError]] = [TusError]
    for error in found:
        found += error.__subclasses__()
    refusals = {error.status for error in found if error.status < 500 or error.status in (501, 503, 507)}
    return frozenset({100, 200, 201, 204, 206, 304, 416} | refusals)


def split(received: bytes, *, bodiless: bool) -> tuple[list[Answer], bytes]:
    """Return the whole answers, and what is left of one that was cut. Raises `Malformed`.

    `bodiless` is for HEAD: an announced body may be missing then.
    """
    answers = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        fields = [_FIELD.fullmatch(line) for line in lines]
        if status is None or None in fields:
            raise Malformed(head)
        headers = CIMultiDict((field[1].decode(), field[2].decode()) for field in fields if field is not None)
        code = int(status[1] or status[2])
        size = 0 if code in _BODILESS else int(headers.get("Content-Length", "0"))
        if bodiless and size and (not rest or rest.startswith(b"HTTP/")):
            size = 0
        if len(rest) < size:
            break
        answers.append(Answer(code, headers, rest[:size]))
        received = rest[size:]
    return answers, received
