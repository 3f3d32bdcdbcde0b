"""What a transfer is asked to do, what it tells while it runs, and what it comes to."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or what is asked for one before every request: a token that was refreshed is used at once."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to transfer. The defaults suit a large file and a bad network."""

    metadata: Mapping[str, str] = {}
    """Told to the server with the upload. `filename` and `filetype` are added for a file, unless they are here."""
    headers: Mapping[str, str] = {}
    """Sent with every request to the server of the URL given, and to no other."""
    token: Token | None = None
    """Sent as `Authorization: Bearer`, under the same rule."""
    chunk_size: int | None = None
    """Most bytes in one PATCH. None = all that is missing in one request; 16 MiB with `checksum`."""
    parallel: int = 1
    """In how many parts a file is sent at once, when the server can put parts together; 1 to 64."""
    checksum: bool = False
    """Whether each request carries a digest of its body, when the server can check one (sha256, else sha1)."""
    verify: bool = False
    """Whether the whole is compared afterwards: by the SHA-256 that the server reports, else by reading it back."""
    limit_rate: int | None = None
    """Most bytes per second, of all transfers of one client together; None = no limit."""
    retry_for: float = 86400.0
    """Seconds without any progress after which it gives up."""
    network_timeout: float = 60.0
    """Seconds without a byte, or an answer, after which a connection counts as dead."""
    ssl: ssl.SSLContext | None = None
    """How certificates are checked; None = as the system does."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Something that happened to one transfer. Encoded with `msgspec`, its name in lower case is the field `event`."""


class Created(Event, frozen=True, kw_only=True):
    """The server has a new upload for the file."""

    url: str
    """Of the upload; of the first part, when there are several."""
    size: int | None
    """Bytes; None = from a pipe, not known yet."""
    parts: int


class Resumed(Event, frozen=True, kw_only=True):
    """An upload that was begun earlier goes on."""

    url: str
    size: int | None
    offset: int
    """Bytes that the server has already."""
    parts: int


class Progress(Event, frozen=True, kw_only=True):
    """Bytes went out. At most ten times a second."""

    offset: int
    """Bytes that the server has, as far as can be told: acknowledged by it, or by its system. May go back."""
    size: int | None
    sent: int
    """Bytes of bodies that were sent by this run, including those that had to be sent again."""


class Retrying(Event, frozen=True, kw_only=True):
    """Something failed and is tried again."""

    reason: str
    """One line."""
    delay: float
    """Seconds until then."""
    attempt: int
    """How many have failed since something last went forward."""
    status: int | None
    """HTTP status, when there was an answer."""


class Restarted(Event, frozen=True, kw_only=True):
    """The upload begins anew."""

    reason: str
    """One line: the server has forgotten it, or the file is another one now."""


class Warned(Event, frozen=True, kw_only=True):
    """Something is not as it should be, and the transfer goes on."""

    reason: str
    """One line."""


class Checking(Event, frozen=True, kw_only=True):
    """All bytes are there, and are compared."""


class Finished(Event, frozen=True, kw_only=True):
    """The whole file has arrived."""

    url: str
    size: int
    sent: int
    seconds: float
    verified: bool


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload has come to."""

    url: str
    """Of the finished upload."""
    size: int
    """Bytes."""
    sent: int
    """Bytes of bodies that this run sent: less than `size` after a resumption, more after failures."""
    seconds: float
    verified: bool
    """Whether the whole was compared, and is the same."""


class Downloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a download has come to."""

    path: str
    """Where it is; `-` = it went to standard output."""
    size: int
    received: int
    """Bytes that this run received."""
    seconds: float


OnEvent: TypeAlias = Callable[[Event], None]
"""Called in the event loop for each event, in order; must not block."""


def tell_nobody(event: Event) -> None:
    """Do nothing: the `OnEvent` of those who want to know nothing."""
