"""The load generator believes no server that gives a wrong answer or drops what it was sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.client import Failed, Request, Response, Script, drive

QUESTION = b"PATCH / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, int]]:
    """Give one connection these answers, piece by piece, then close it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


def asking(times: int, seen: list[Response]) -> Script:
    for _ in range(times):
        answer = yield Request(QUESTION, (200, 204))
        seen.append(answer)


def test_answers_are_read_to_their_end() -> None:
    """Bodies by length, chunked ones and none are told apart, so that the next answer begins where it does."""
    seen: list[Response] = []
    bodies = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Here: A b\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ]
    with answering(*bodies) as address:
        load = drive(address, [asking(3, seen)])
    assert [200, 200, 204] == [each.status for each in seen]
    assert "A b" == seen[0].header(b"x-here")
    assert "" == seen[0].header(b"missing")
    assert 3 == len(load.times)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 3\r\n\r\nbad", "PATCH was answered with 409: bad"),
        (b"", "PATCH: the connection was closed without an answer"),
    ],
)
def test_wrong_answers_fail(answer: bytes, sentence: str) -> None:
    """The sentence says what came instead."""
    with answering(answer) as address, pytest.raises(Failed) as failed:
        drive(address, [asking(1, [])])
    assert sentence == str(failed.value)
