"""What a client wants, parsed and checked as far as the request alone allows."""

from __future__ import annotations

from enum import Enum, auto
from typing import TypeAlias

import msgspec

from tusd_py.models.upload import UploadKind


class Checksum(msgspec.Struct, frozen=True):
    """An announced digest of a request body (tus 1.0.0, Checksum)."""

    algorithm: str
    digest: bytes


class Completion(Enum):
    """When an append finishes its upload. Finishing is a wish of the client, not a property of numbers."""

    WHEN_FULL = auto()
    """tus 1.0.0: as soon as the offset reaches the declared length."""
    NOW = auto()
    """IETF draft, `Upload-Complete: ?1`: with the last byte of this body."""
    LATER = auto()
    """IETF draft, `Upload-Complete: ?0`: not with this request, whatever the offset."""


class Discover(msgspec.Struct, frozen=True, kw_only=True):
    """OPTIONS: what can this server do?"""


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """POST: a new upload, with or without first bytes."""

    kind: UploadKind = UploadKind.SINGLE
    length: int | None = None
    """Declared total in bytes; None = deferred, or a final upload."""
    metadata: str = ""
    """Verbatim header."""
    concat: str | None = None
    """Verbatim header."""
    parts: tuple[str, ...] = ()
    """Ids named by a final upload, in order, repetitions included."""
    checksum: Checksum | None = None
    has_body: bool = False
    """Whether bytes of the upload come with the request (creation-with-upload)."""
    with_upload: bool = False
    """Whether the request is a creation-with-upload by its media type, even if its body is empty (CWU-03)."""
    body_length: int | None = 0
    """Bytes announced for the body; None = unknown (chunked)."""
    completion: Completion = Completion.WHEN_FULL
    key: str | None = None
    """Names the creation, so that asking again makes no second upload; None = every request makes one."""


class Inspect(msgspec.Struct, frozen=True, kw_only=True):
    """HEAD: where does this upload stand?"""

    upload_id: str


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """PATCH: bytes for an upload."""

    upload_id: str
    offset: int
    length: int | None = None
    """A total declared with this request; None = not mentioned."""
    checksum: Checksum | None = None
    has_body: bool = False
    body_length: int | None = 0
    """Bytes announced for the body; None = unknown (chunked)."""
    completion: Completion = Completion.WHEN_FULL


class Terminate(msgspec.Struct, frozen=True, kw_only=True):
    """DELETE: remove an upload."""

    upload_id: str


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """GET: the bytes of a finished upload."""

    upload_id: str


class Describe(msgspec.Struct, frozen=True, kw_only=True):
    """GET of `<upload>/result`: what became of an upload. Ours, not of tus."""

    upload_id: str


Intent: TypeAlias = Discover | Create | Inspect | Append | Terminate | Download | Describe
