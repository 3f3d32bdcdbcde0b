"""Every way in which an upload or a download can end without having arrived.

The tree::

    TransferFailed            carries a code, and one sentence for a person
    ├── SourceUnusable        the local file cannot be read, or is no file
    ├── SourceBusy            another process is uploading this file to this server
    ├── SourceChanged         the file was changed, cut or added to while it was read
    ├── NotATusServer         whoever answers does not speak tus 1.0.0
    ├── Untrusted             the server's certificate does not prove who it is
    ├── Refused               the server said no, for good
    ├── GaveUp                nothing went forward for as long as was allowed
    ├── CannotResume          bytes are missing that cannot be read again: what came from a pipe is gone
    ├── DestinationUnusable   a download cannot be written where it was asked for
    ├── StoreUnusable         what is known of unfinished uploads cannot be used; uploads work without
    └── NotVerified           what has arrived is not what was sent, or nobody can tell
"""

from __future__ import annotations

from typing import ClassVar


class TransferFailed(Exception):
    """An upload or a download has ended before its end. Raised by everything public in `tusd_py.client`."""

    code: ClassVar[str] = "failed"
    """Which of these it is, for programs. Never changes."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        """What is wrong, in one line without a full stop."""
        super().__init__(sentence)


class SourceUnusable(TransferFailed):
    """The local file cannot be read, or is no file."""

    code = "source-unusable"


class SourceBusy(TransferFailed):
    """Another process is uploading this file to this server."""

    code = "source-busy"


class SourceChanged(TransferFailed):
    """The file was changed, cut or added to while it was read. What the server has of it is no copy of anything."""

    code = "source-changed"


class NotATusServer(TransferFailed):
    """Whoever answers does not speak tus 1.0.0."""

    code = "not-a-tus-server"


class Untrusted(TransferFailed):
    """The server's certificate does not prove who it is."""

    code = "untrusted"


class Refused(TransferFailed):
    """The server said no, for good: trying again would be answered alike."""

    code = "refused"

    def __init__(self, sentence: str, *, status: int, error: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        """HTTP status of the answer."""
        self.error = error
        """The server's own code (`ERR_...`), when it named one."""


class GaveUp(TransferFailed):
    """Nothing went forward for as long as was allowed. The upload can be resumed."""

    code = "gave-up"


class CannotResume(TransferFailed):
    """Bytes are missing that cannot be read again: what came from a pipe is gone."""

    code = "cannot-resume"


class DestinationUnusable(TransferFailed):
    """A download cannot be written where it was asked for."""

    code = "destination-unusable"


class StoreUnusable(TransferFailed):
    """What is known of unfinished uploads cannot be read, written or locked. Uploads work without it."""

    code = "store-unusable"


class NotVerified(TransferFailed):
    """What has arrived is not what was sent, or nobody can tell."""

    code = "not-verified"
