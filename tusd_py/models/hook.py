"""What a hook is told, and what it may answer (the seven moments are tusd's, names and meaning unchanged)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tusd_py.models.upload import UploadInfo


class Moment(StrEnum):
    """When a hook is called. The `pre-` ones block the request and may refuse it, the `post-` ones tell a fact."""

    PRE_CREATE = "pre-create"
    POST_CREATE = "post-create"
    POST_RECEIVE = "post-receive"
    PRE_FINISH = "pre-finish"
    POST_FINISH = "post-finish"
    PRE_TERMINATE = "pre-terminate"
    POST_TERMINATE = "post-terminate"

    @property
    def blocks(self) -> bool:
        """Whether the request waits for the answer."""
        return self in (Moment.PRE_CREATE, Moment.PRE_FINISH, Moment.PRE_TERMINATE)

    @property
    def is_durable(self) -> bool:
        """Whether it is told by a job, which is stored with the fact and survives a crash."""
        return self in (Moment.POST_FINISH, Moment.POST_TERMINATE)


class RequestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The request behind an event. Never has credentials, unless the settings name the header."""

    method: str = ""
    uri: str = ""
    """As sent: path and query."""
    remote_addr: str = ""
    """Address of the client, as far as it is known; with a port when it is the direct peer."""
    headers: tuple[tuple[str, str], ...] = ()
    """In the order of the request; a name may be there more than once."""


class HookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens to an upload, as every transport and every job is told it."""

    moment: Moment
    upload: UploadInfo
    """As it is at that moment; at `pre-create` as it would become."""
    request: RequestInfo = RequestInfo()
    at: float = 0.0
    """Seconds since the Unix epoch."""

    @property
    def id(self) -> str:
        """Names the fact: the same however often it is told. Progress is one fact per offset."""
        suffix = f":{self.upload.offset}" if self.moment is Moment.POST_RECEIVE else ""
        return f"{self.upload.id}:{self.moment}{suffix}"


class HookReply(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook wants. The default wants nothing: the request goes on and is answered as usual."""

    refuses: bool = False
    """At a `pre-` moment: do not create, finish or remove."""
    stops: bool = False
    """At `post-receive`: end the request and remove the upload."""
    status: int | None = None
    """For the answer to the client; None = as usual. One of 400 and above refuses, whatever `refuses` says."""
    body: str | None = None
    """For the answer to the client; None = as usual."""
    headers: tuple[tuple[str, str], ...] = ()
    """For the answer to the client, in addition to the usual ones. None of tus or of the connection's own."""
    upload_id: str | None = None
    """At `pre-create`: the id instead of a random one."""
    metadata: dict[str, str] | None = None
    """At `pre-create`: what the client said is replaced by this."""
    path: str | None = None
    """At `pre-create`: where to keep the data, relative to the directory of named data."""

    @property
    def is_refusal(self) -> bool:
        """Whether the request must not go on."""
        return self.refuses or (self.status or 0) >= 400


NOTHING = HookReply()
"""What nearly every hook wants."""
