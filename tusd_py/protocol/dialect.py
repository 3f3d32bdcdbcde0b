"""What a wire language must do. `tus1` is the first; the IETF draft (`rufh`) will stand beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tusd_py.errors import TusError
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol.intents import Create, Intent
from tusd_py.protocol.messages import Reply, RequestHead


class Dialect(Protocol):
    """A wire language over the engine: reads intents, writes replies. Pure: no method does I/O or keeps state."""

    def read(self, head: RequestHead) -> Intent:
        """Parse a request. Raises the `TusError` of the first check that fails, in the order of the dialect."""

    def discovered(self) -> Reply:
        """Answer a `Discover`."""

    def created(self, intent: Create, upload: UploadInfo, location: str) -> Reply:
        """Answer a `Create`; `location` is the URL of the upload as the client shall see it."""

    def inspected(self, upload: UploadInfo, location: str) -> Reply:
        """Answer an `Inspect`; `location` as of `created`."""

    def appended(self, upload: UploadInfo, location: str) -> Reply:
        """Answer an `Append`; `upload` is as it stands after the append, `location` as of `created`."""

    def described(self, upload: UploadInfo, jobs: Iterable[Job]) -> Reply:
        """Answer a `Describe`."""

    def terminated(self) -> Reply:
        """Answer a `Terminate`."""

    def refused(self, error: TusError, head: RequestHead) -> Reply:
        """Answer a request that failed. No body where the (effective) method is HEAD."""
