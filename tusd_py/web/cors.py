"""Cross-origin requests: who may ask, and what a browser may see of the answer (protocol section 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from tusd_py.errors import OriginNotAllowed

ALLOW_METHODS = "POST, HEAD, PATCH, OPTIONS, GET, DELETE"
ALLOW_HEADERS = ", ".join(
    (
        "Authorization", "Origin", "X-Requested-With", "X-Request-ID", "X-HTTP-Method-Override", "Content-Type",
        "Upload-Length", "Upload-Offset", "Tus-Resumable", "Upload-Metadata", "Upload-Defer-Length",
        "Upload-Concat", "Upload-Checksum", "Upload-Incomplete", "Upload-Complete",
        "Upload-Draft-Interop-Version", "Content-Disposition", "Content-Digest", "Repr-Digest", "Idempotency-Key",
    )
)  # fmt: skip
EXPOSE_HEADERS = ", ".join(
    (
        "Location", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Defer-Length", "Upload-Concat",
        "Upload-Expires", "Upload-Limit", "Tus-Version", "Tus-Resumable", "Tus-Max-Size", "Tus-Extension",
        "Tus-Checksum-Algorithm", "Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version",
        "Retry-After", "Link",
    )
)  # fmt: skip


class CorsPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask across origins."""

    enabled: bool = True
    allow_origin: tuple[str, ...] = ()
    """Exact origins, or anchored globs (`https://*.example.com`); empty = any."""
    allow_credentials: bool = False
    max_age: int = 86400
    """Seconds for which a browser may remember a preflight."""


class Cors:
    """Checks origins and writes the headers. Wraps our own routes only; a host app's CORS is untouched."""

    def __init__(self, policy: CorsPolicy) -> None:
        self._policy = policy
        # fullmatch, so that https://example.com.evil.org is another origin (CORS-06).
        self._allowed = [re.compile(_glob(pattern), re.IGNORECASE) for pattern in policy.allow_origin]

    def headers_for(
        self, request_headers: Mapping[str, str], method: str, own_origins: Sequence[str]
    ) -> dict[str, str]:
        """Return the CORS headers of the answer to a request, whatever its status.

        `own_origins` are this server's: browsers name the origin on same-origin POST and PATCH too (CORS-08).
        Raises `OriginNotAllowed`; the answer to it has no CORS headers but `refusal_headers`.
        """
        if not self._policy.enabled:
            return {}
        headers = {"Vary": "Origin"}
        origin = request_headers.get("Origin")
        if origin is None:
            return headers
        if not self._is_allowed(origin):
            if origin in own_origins:
                return headers
            raise OriginNotAllowed
        headers["Access-Control-Allow-Origin"] = origin
        if self._policy.allow_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if method == "OPTIONS" and "Access-Control-Request-Method" in request_headers:
            headers["Access-Control-Allow-Methods"] = ALLOW_METHODS
            headers["Access-Control-Allow-Headers"] = ALLOW_HEADERS
            headers["Access-Control-Max-Age"] = str(self._policy.max_age)
        else:
            headers["Access-Control-Expose-Headers"] = EXPOSE_HEADERS
        return headers

    def refusal_headers(self) -> dict[str, str]:
        """Return the headers of the answer to a disallowed origin: none that a browser would let pass."""
        return {"Vary": "Origin"}

    def _is_allowed(self, origin: str) -> bool:
        if not origin.isascii() or not origin.isprintable():
            return False
        return not self._allowed or any(pattern.fullmatch(origin) for pattern in self._allowed)


def _glob(pattern: str) -> str:
    """Translate a glob: `*` stands for one or more characters of a host name, never for `/`, `:`, `@` or `#`."""
    return "[A-Za-z0-9._-]+".join(re.escape(piece) for piece in pattern.split("*"))
