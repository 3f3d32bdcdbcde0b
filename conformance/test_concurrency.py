"""Concurrency: the protocol is silent; clients that lost a connection are not."""

from __future__ import annotations

import threading

from conformance.rows import DECISION, expect, row
from conformance.target import OCTETS, Server, T
from conformance.wire import Answer, Unanswered

SECTION = "concurrency"
SPEC = "Core Protocol, PATCH"
SIZE = 200_000
PATCH = {**T, **OCTETS, "Upload-Offset": "0"}


@row("CONC-01", DECISION, "Of two PATCHes at the same offset one is taken, and their bytes do not mix", spec=SPEC)
def test_two(tus: Server) -> None:
    upload = tus.create(SIZE)
    answers: list[Answer] = []

    def send(letter: bytes) -> None:
        try:
            answers.append(tus.patch(upload, 0, letter * SIZE))
        except Unanswered:
            # The one that was pushed aside.
            return

    threads = [threading.Thread(target=send, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * tus.timeout)
    taken = [answer for answer in answers if answer.fine]
    expect(len(taken) <= 1, "both were answered with 2xx")
    if taken:
        expect(taken[0].number("Upload-Offset") == tus.offset(upload), "HEAD and the accepted PATCH differ")
        if (got := tus.get(upload)).status == 200:
            expect(len(set(got.body)) == 1, "the content is a mix of both")


@row(
    "CONC-02",
    DECISION,
    "HEAD soon shows what a PATCH that hangs has brought, and the next PATCH goes on there",
    spec=SPEC,
)
def test_hanging(tus: Server) -> None:
    upload = tus.create(10)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": "10"})
        connection.send(b"hello")
        tus.settles(upload, 5)
        tus.patch(upload, 5, b"world").one_of(204).is_("Upload-Offset", "10")
    tus.holds(upload, b"helloworld")


@row("CONC-04", DECISION, "DELETE of an upload whose PATCH hangs is answered 204", spec=SPEC, needs="termination")
def test_delete_hanging(tus: Server) -> None:
    upload = tus.create(10)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": "10"})
        connection.send(b"hello")
        tus.round_trips()
        tus.delete(upload).one_of(204)
    expect(not tus.head(upload).fine, "HEAD still finds the upload")


@row("CORE-HEAD-10", DECISION, "HEAD does not end a PATCH that is bringing bytes", spec="Core Protocol, HEAD")
def test_head_meanwhile(tus: Server) -> None:
    upload = tus.create(10)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": "10"})
        connection.send(b"hello")
        tus.round_trips()
        tus.head(upload).one_of(200, 204)
        connection.send(b"world")
        connection.answer().one_of(204).is_("Upload-Offset", "10")


@row("CONC-07", DECISION, "Many HEADs of one upload at the same time are all answered", spec="Core Protocol, HEAD")
def test_many(tus: Server) -> None:
    upload = tus.filled(b"hello")
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(tus.head(upload).status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * tus.timeout)
    expect(len(statuses) == 8 and set(statuses) <= {200, 204}, f"they answered {sorted(statuses)}")
