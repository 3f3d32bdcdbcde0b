"""Answers, built short, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from multidict import CIMultiDict

from tests.protocol.requests import ID, head
from tusd_py.protocol.messages import Reply, RequestHead
from tusd_py.protocol.tus1_client import (
    Answer,
    Verdict,
    read_appended,
    read_created,
    read_offer,
    read_standing,
    read_terminated,
)

ENDPOINT = "https://uploads.example/files/"
URL = ENDPOINT + ID
TEXT = "text/plain; charset=utf-8"
HTML = "text/html"
JSON = "application/json"


def read_creation(answer: Answer) -> object:
    """Read the answer to a POST to `ENDPOINT`."""
    return read_created(answer, ENDPOINT)


READERS: tuple[Callable[[Answer], object], ...] = (
    read_offer,
    read_creation,
    read_standing,
    read_appended,
    read_terminated,
)


def asked(method: str, fields: dict[str, str], *, upload_id: str | None = None, body: int = 0) -> RequestHead:
    """What the server sees of a request with this head."""
    return head(method, *fields.items(), upload_id=upload_id, body=body)


def told(reply: Reply) -> Answer:
    """What a client sees of an answer of ours."""
    return Answer(reply.status, CIMultiDict(reply.headers), reply.body)


def answer(status: int, body: bytes = b"", **fields: str) -> Answer:
    """An answer with these header fields, their dashes written as underscores."""
    return Answer(status, CIMultiDict((name.replace("_", "-"), value) for name, value in fields.items()), body)


def refusal(read: Callable[[Answer], object], given_answer: Answer) -> Verdict:
    """The verdict that a reader raises."""
    with pytest.raises(Verdict) as caught:
        read(given_answer)
    return caught.value
