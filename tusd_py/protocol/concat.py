"""The `Upload-Concat` header (tus 1.0.0, Concatenation).

"The Upload-Concat request and response header MUST be set in both partial and final upload creation requests.
It indicates whether the upload is either a partial or final upload. If the upload is a partial one, the
header value MUST be `partial`. In the case of a final upload, its value MUST be `final` followed by a
semicolon and a space-separated list of partial upload URLs that will be concatenated. The partial uploads
URLs MAY be absolute or relative and MUST NOT contain spaces as defined in RFC 3986."
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from tusd_py.errors import InvalidConcat
from tusd_py.models.upload import UploadKind
from tusd_py.protocol.headers import is_field_value, is_plain_id

_FINAL = "final;"
# RFC 3986 3.1 and 3.2; also the network-path reference `//host/path`.
_ORIGIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*")
_QUERY_OR_FRAGMENT = re.compile(r"[?#]")
# What a proxy may put in front of a base path. Commas and the like: a list with the wrong separator, of which only
# the last URL would be taken.
_PREFIX = re.compile(r"(?:/[^/,;\s]+)*")


class Concat(msgspec.Struct, frozen=True):
    """The part that a new upload plays, and the uploads that a final one is made of."""

    kind: UploadKind
    parts: tuple[str, ...] = ()
    """Ids in order, repetitions included."""


def parse_concat(value: str, *, base_paths: Sequence[str], max_parts: int) -> Concat:
    """Return the role that a header asks for, references resolved to ids.

    Args:
        value: the header, not empty.
        base_paths: paths below which upload URLs may lie, each with a slash at both ends.
        max_parts: most references in a final upload.

    Raises:
        InvalidConcat: neither `partial` nor `final;` with at least one reference to an upload of this server.
    """
    if value == UploadKind.PARTIAL:
        return Concat(UploadKind.PARTIAL)
    # The value is echoed verbatim by HEAD, so it must be fit for a header.
    if not value.startswith(_FINAL) or not is_field_value(value):
        raise InvalidConcat
    # CAT-06: a space after the semicolon and double spaces are harmless; tusd takes them, too.
    references = [reference for reference in value[len(_FINAL) :].split(" ") if reference]
    if not references:
        raise InvalidConcat
    if len(references) > max_parts:
        raise InvalidConcat(f"A final upload must not have more than {max_parts} parts")
    return Concat(UploadKind.FINAL, tuple(resolve_reference(reference, base_paths) for reference in references))


def resolve_reference(reference: str, base_paths: Sequence[str]) -> str:
    """Return the id that a URL, a path or a relative reference names.

    Only the path below a base path counts: behind a proxy, scheme, host, port and a public prefix are not
    what this server sees (CAT-05). Nothing is decoded or normalised, so what is left is a plain id or refused
    (CAT-18).

    Raises:
        InvalidConcat: it does not name an upload of this server.
    """
    located = _QUERY_OR_FRAGMENT.split(reference, maxsplit=1)[0]
    if "/" not in located:
        candidates = [located]
    else:
        origin = _ORIGIN.match(located)
        path = located[origin.end() :] if origin else located
        candidates = [_below(base, path) for base in base_paths]
    for candidate in candidates:
        if is_plain_id(candidate):
            return candidate
    raise InvalidConcat("Upload-Concat names something that is not an upload of this server")


def _below(base_path: str, path: str) -> str:
    """Return what follows the last base path in a path, less one trailing slash; empty when there is none."""
    prefix, base, tail = path.removesuffix("/").rpartition(base_path)
    return tail if base and _PREFIX.fullmatch(prefix) else ""
