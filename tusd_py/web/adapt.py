"""Between aiohttp's objects and the protocol's records."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import HttpVersion10, HttpVersion11, web

from tusd_py.errors import InvalidFraming
from tusd_py.models.hook import RequestInfo
from tusd_py.protocol.messages import Reply, RequestHead
from tusd_py.web.location import Edge, EdgePolicy, public_bases

HIDDEN = frozenset({"authorization", "cookie", "idempotency-key", "proxy-authorization"})
"""Headers that give access to something: nobody is told them unless they are named (reliability 5.2, row 58)."""


def read_head(request: web.Request, policy: EdgePolicy, edge: Edge) -> RequestHead:
    """Return what a dialect needs of a request."""
    tail = request.match_info.get("tail")
    base = base_path(request, tail)
    chunked = "Transfer-Encoding" in request.headers
    length = None if chunked else request.content_length or 0
    return RequestHead(
        method=request.method,
        upload_id=tail.removesuffix("/") or None if tail else None,
        headers=request.headers,
        has_body=chunked or bool(length),
        body_length=length,
        base_paths=(base, *public_bases(policy, edge, base)),
    )


def base_path(request: web.Request, tail: str | None) -> str:
    """Return the path of the mount as this request names it, with a slash at the end.

    Taken from the request, not from the configuration, so that sub-apps and prefixes with variables are right.
    """
    path = request.rel_url.raw_path
    if tail:
        segments = path.split("/")
        return "/".join(segments[: -(tail.count("/") + 1)]) + "/"
    return path if path.endswith("/") else path + "/"


def check_framing(request: web.Request) -> None:
    """Refuse what HTTP allows nobody to send but aiohttp lets through. Raises `InvalidFraming`."""
    if request.version not in (HttpVersion10, HttpVersion11):
        # aiohttp takes a request line without a version, or with HTTP/2.0, for one that has headers and a body.
        raise InvalidFraming("The request line is not one of HTTP/1.1 or HTTP/1.0")
    if codings := request.headers.getall("Transfer-Encoding", ()):
        # RFC 9112, 6.1: framing cannot be trusted, close the connection.
        if request.version < HttpVersion11:
            raise InvalidFraming("Transfer-Encoding needs HTTP/1.1")
        # aiohttp unpacks no other coding and leaves it to us: it would be stored as it came.
        if [coding.strip().lower() for coding in codings] != ["chunked"]:
            raise InvalidFraming("The only transfer coding of this server is chunked")
    if request.headers.get("Upgrade", "").strip().lower() == "websocket":
        # aiohttp takes what follows for the other protocol. Other upgrades it ignores, as everybody may.
        raise InvalidFraming("This server speaks HTTP only")


def describe_request(request: web.Request, hidden: Collection[str]) -> RequestInfo:
    """Return a request as hooks and jobs are told it, without the headers whose lower-case names are hidden."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    shown = [(name, value) for name, value in request.headers.items() if name.lower() not in hidden]
    return RequestInfo(
        method=request.method,
        uri=_text(str(request.rel_url)),
        remote_addr=f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "",
        headers=tuple((str(name), _text(value)) for name, value in shown),
    )


def _text(value: str) -> str:
    # aiohttp keeps bytes that are not UTF-8 as lone surrogates, which no JSON can hold.
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def write_reply(reply: Reply) -> web.Response:
    """Return the aiohttp response of a reply."""
    # As they are: a hook may want a header more than once.
    response = web.Response(status=reply.status, reason=reply.reason, body=reply.body or None, headers=reply.headers)
    if reply.closes:
        response.force_close()
    return response
