"""One upload from its creation to its last byte: brings a range of a file, or what comes from a pipe, to the server.

What a server said last is the only truth. A lane always knows one of three things, and what to do next follows:

=============================  ==================================
no upload                      make one (POST)
an upload, but not its offset  ask for it (HEAD)
an upload and its offset       send what comes next (PATCH)
=============================  ==================================

Whatever fails, the offset is not known any more. `Patience` decides whether and when it goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from tusd_py.client.errors import GaveUp, Refused, TransferFailed
from tusd_py.client.gate import Gate, Paused
from tusd_py.client.patience import PASSING, Patience
from tusd_py.client.pieces import Piece, Pieces
from tusd_py.client.records import OnEvent, Restarted
from tusd_py.client.remembering import Memory
from tusd_py.client.wire import Wire
from tusd_py.protocol.tus1_client import (
    NOTHING_KNOWN,
    Answer,
    Denied,
    Gone,
    Offer,
    TryAgain,
    Unauthorized,
    Verdict,
    append_head,
    create_head,
    discover_head,
    inspect_head,
    read_appended,
    read_created,
    read_offer,
    read_standing,
)

SMALL = 64 * 2**10
"""Most bytes that go with the creation. Until it is answered nobody knows the URL, so they could not be resumed."""
MOST_RESTARTS = 5
"""So often an upload that vanished is begun anew without reaching further than before."""


def goes_with_creation(total: int | None, offer: Offer) -> bool:
    """Whether so many bytes are sent with the request that makes the upload; None = nobody knows how many."""
    return total is not None and 0 < total <= SMALL and offer.offers("creation-with-upload")


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What all lanes of one transfer have in common."""

    wire: Wire
    endpoint: str
    """URL at which uploads are created."""
    offer: Offer
    metadata: Mapping[str, str]
    memory: Memory
    gate: Gate
    tell: OnEvent

    def key_of(self, part: int | str) -> str:
        """Return what a creation is known by, in all runs that ask for the same."""
        # A name need not be text.
        asked = repr(sorted(self.metadata.items())).encode(errors="backslashreplace")
        return f"{self.memory.key}-{part}-{hashlib.sha256(asked).hexdigest()[:8]}"


class Lane:
    """Brings the bytes of `pieces` into one upload. Cancelling leaves it as the server has it: it can be resumed."""

    def __init__(self, course: Course, pieces: Pieces, patience: Patience, *, part: int, partial: bool) -> None:
        """Go on with the upload that is remembered as number `part`, if there is one.

        `partial` says that the upload will be put together with others.
        """
        self._course = course
        self._pieces = pieces
        self._patience = patience
        self._part = part
        self._partial = partial
        self._length_told = pieces.total is not None
        self._stood = 0  # where the server said it was
        self._guessed = 0  # where it probably is
        self._is_guess = False  # whether bytes went out since
        self._best = -1  # the furthest that the server has ever said
        self._handed = 0  # the furthest byte that was ever given to the network
        self._furthest = 0  # the furthest byte that has ever reached the system of the server
        self._restarts = 0
        self._sent = 0
        self._sending: Piece | None = None
        self.url = course.memory.urls[part]
        """Of the upload; None = there is none yet."""
        self.offset: int | None = None
        """Bytes that the server has; None = nobody knows."""
        self.resumed = False
        """Whether the upload was there before this run."""
        self._doubtful = self.url is not None

    @property
    def position(self) -> int:
        """Bytes that the server has, as far as can be told without asking it."""
        return self._stood + self._sending.meter.acknowledged if self._sending else self._guessed

    @property
    def sent(self) -> int:
        """Bytes of bodies that went out, those included that had to be sent again."""
        return self._sent + (self._sending.meter.acknowledged if self._sending else 0)

    async def open(self) -> None:
        """Return when there is an upload, and its offset is known. Raises as `run`."""
        await self._go_on(until=lambda: self.offset is not None)

    async def run(self) -> str:
        """Return the URL when the server has every byte.

        Raises:
            TransferFailed: any but those of verification and downloads.
        """
        await self._go_on(until=lambda: self._has_arrived)
        assert self.url is not None
        return self.url

    def doubt(self) -> None:
        """Ask the server again how far the upload is, the next time that it is opened or run."""
        self.offset = None

    @property
    def _has_arrived(self) -> bool:
        return self.offset is not None and self.offset == self._pieces.total and self._length_told

    async def _go_on(self, *, until: Callable[[], bool]) -> None:
        while not until():
            await self._patience.ready()
            try:
                await self._take_next_step()
            except Paused:
                pass
            except PASSING as failure:
                opinion = await self._second_opinion(failure) if isinstance(failure, Gone) else failure
                if isinstance(opinion, Gone):
                    await self._begin_anew(opinion.reason)
                else:
                    await self._patience.after(opinion)

    async def _take_next_step(self) -> None:
        if self.url is None:
            await self._create()
        elif self.offset is None:
            await self._inspect(self.url)
        else:
            await self._append(self.url, self.offset)

    async def _create(self) -> None:
        await self._pieces.begin()
        total = self._pieces.total
        with_data = goes_with_creation(total, self._course.offer)
        piece = await self._pieces.at(0) if with_data else None
        head = create_head(
            length=total,
            metadata=self._course.metadata,
            partial=self._partial,
            with_data=with_data,
            checksum=piece.checksum if piece else None,
            key=self._course.key_of(self._part),
        )
        created = read_created(await self._ask("POST", self._course.endpoint, head, piece), self._course.endpoint)
        self.url, self._length_told = created.url, total is not None
        await self._course.memory.note(self._part, created.url)
        size = piece.size if piece else 0
        if created.offset == size or (created.offset is None and not size):
            self._stands_at(size)

    async def _inspect(self, url: str) -> None:
        standing = read_standing(await self._ask("HEAD", url, inspect_head()))
        total = self._pieces.total
        if total is not None and (standing.offset > total or standing.length not in (None, total)):
            await self._is_not_ours(f"it has {standing.offset} of {standing.length} bytes, and the file has {total}")
            return
        if self._doubtful:
            self._doubtful, self.resumed = False, True
        self._length_told = self._length_told or standing.length is not None
        self._stands_at(standing.offset)

    async def _append(self, url: str, offset: int) -> None:
        piece = await self._pieces.at(offset)
        length = None if self._length_told else self._pieces.total
        head = append_head(offset, length=length, checksum=piece.checksum)
        self.offset = None
        # Nothing else is cut by a pause: it is soon over, and the answer to a creation is worth waiting for.
        async with self._course.gate.passing():
            answer = await self._ask("PATCH", url, head, piece)
        if _is_too_much_at_once(answer) and self._pieces.shrink(below=piece.size):
            raise TryAgain("somebody on the way takes no requests that large", status=answer.status)
        told = read_appended(answer)
        if told == offset + piece.size:
            self._length_told = self._length_told or length is not None
            self._stands_at(told)
            return
        await self._inspect(url)
        if self._stood <= offset and not self._has_arrived:
            raise TryAgain("the server took none of the bytes")

    async def _ask(self, method: str, url: str, head: dict[str, str], piece: Piece | None = None) -> Answer:
        if piece is None or piece.body is None:
            return await self._course.wire.ask(method, url, head)
        self._sending = piece
        try:
            return await self._course.wire.ask(method, url, head, piece.body)
        finally:
            self._handed = max(self._handed, self._stood + piece.meter.handed)
            # A connection over which bytes go forward is no failure, however long it takes until it is answered.
            self._guessed, self._is_guess = self.position, True
            if self._guessed > self._furthest:
                self._furthest = self._guessed
                self._patience.progressed()
            self._sent, self._sending = self.sent, None

    def _stands_at(self, offset: int) -> None:
        if self._is_guess:
            # What arrived was sent, whatever could be seen of it before the connection was lost.
            self._sent += max(offset - self._guessed, 0)
        self.offset = self._stood = self._guessed = offset
        self._is_guess = False
        # The furthest counts: a server that goes to and fro does not keep anybody waiting for ever.
        if offset > self._best:
            self._best, self._restarts = offset, 0
            self._patience.progressed()

    async def _is_not_ours(self, reason: str) -> None:
        if not self._doubtful:
            raise Refused(f"this cannot be the upload that was sent: {reason}", status=200)
        await self._begin_anew(f"the upload that was begun is another one: {reason}")

    async def _second_opinion(self, gone: Gone) -> Verdict | TransferFailed:
        """Return what it means that something is not there: `Gone` only if the upload is really lost."""
        try:
            if not await self._is_said_by_the_server():
                return TryAgain(gone.reason, status=gone.status)
            if self.url is None:
                reason = f"no uploads can be created at {self._course.endpoint} ({gone.reason}); is it the right URL?"
                return Denied(reason, status=gone.status or 404, error=gone.error)
            if gone.status == 410 or self._handed == self._pieces.total:
                return await self._why(gone, self.url)
        except PASSING as failure:
            return failure
        return gone

    async def _is_said_by_the_server(self) -> bool:
        """Whether it is there at all, and not only what stands before it, as while it is started anew."""
        if self._course.offer == NOTHING_KNOWN:
            return True
        answer = await self._ask("OPTIONS", self._course.endpoint, discover_head())
        return read_offer(answer) != NOTHING_KNOWN

    async def _why(self, gone: Gone, url: str) -> Verdict:
        """Ask with an empty PATCH. Perhaps it was rejected, which a HEAD cannot say, for want of a body."""
        try:
            read_appended(await self._ask("PATCH", url, append_head(self._stood)))
        except Unauthorized:
            raise
        except Denied as denied:
            return denied if denied.status == 410 else gone
        return TryAgain(gone.reason, status=gone.status)

    async def _begin_anew(self, reason: str) -> None:
        if self._restarts == MOST_RESTARTS:
            raise GaveUp(f"the upload was lost {MOST_RESTARTS} times without getting further: {reason}")
        self._restarts += 1
        self._course.tell(Restarted(reason=reason))
        self.url = self.offset = None
        self._stood = self._guessed = 0
        self._is_guess = self._doubtful = False
        await self._course.memory.begin_anew(self._part)


def _is_too_much_at_once(answer: Answer) -> bool:
    """Whether a proxy, not the server, says that a body is too large; a server names an error, or speaks tus."""
    return answer.status == 413 and answer.headers.get("Tus-Resumable") is None and not answer.body.startswith(b"ERR_")
