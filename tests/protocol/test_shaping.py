"""What a hook wants to add to an answer, and what it cannot change about it."""

from __future__ import annotations

import pytest

from tusd_py.models.hook import HookReply
from tusd_py.protocol.messages import Reply
from tusd_py.protocol.shaping import shaped

MADE = Reply(status=201, headers=[("Location", "/a"), ("Cache-Control", "no-store")])
REFUSED = Reply(status=400, headers=[("Content-Type", "text/plain; charset=utf-8")], body=b"ERR_X: No\n")
REMOVED = Reply(status=204, headers=[])


@pytest.mark.parametrize(
    ("reply", "wanted", "status", "body"),
    [
        (MADE, HookReply(), 201, b""),
        (MADE, HookReply(status=200, body="a"), 200, b"a"),
        (MADE, HookReply(status=204, body="a"), 204, b""),
        (MADE, HookReply(status=500), 201, b""),
        (REFUSED, HookReply(), 400, b"ERR_X: No\n"),
        (REFUSED, HookReply(status=503), 503, b"ERR_X: No\n"),
        (REFUSED, HookReply(status=200, body="a"), 400, b"a"),
        (REFUSED, HookReply(status=204), 400, b"ERR_X: No\n"),
        (REFUSED, HookReply(body=""), 400, b""),
        (REMOVED, HookReply(body="a"), 204, b""),
        (REMOVED, HookReply(status=200, body="caf\u00e9\ud800"), 200, b"caf\xc3\xa9?"),
    ],
)
def test_status_and_body(reply: Reply, wanted: HookReply, status: int, body: bytes) -> None:
    """A success stays one and so does a refusal, whatever status is wanted; 204 has no body."""
    answer = shaped(reply, wanted)
    assert (answer.status, answer.body) == (status, body)
    types = [value for name, value in answer.headers if name == "Content-Type"]
    assert types == (["text/plain; charset=utf-8"] if body or reply is REFUSED else [])


def test_headers() -> None:
    """Headers are added; ours give way to those of the same name, and the hook may give one twice."""
    wanted = HookReply(
        body="{}", headers=(("cache-control", "private"), ("X", "1"), ("X", "2"), ("content-type", "a/b"))
    )
    assert shaped(MADE, wanted).headers == [("Location", "/a"), *wanted.headers]
    assert MADE.headers == [("Location", "/a"), ("Cache-Control", "no-store")]
