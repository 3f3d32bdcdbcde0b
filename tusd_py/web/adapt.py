"""Between aiohttp's objects and the protocol's records."""

from __future__ import annotations

from aiohttp import web

from tusd_py.errors import InvalidFraming
from tusd_py.protocol.messages import Reply, RequestHead
from tusd_py.web.location import Edge, EdgePolicy, public_bases


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
    if request.version < (1, 0):
        # aiohttp takes a request line without a version for one that has headers and a body all the same.
        raise InvalidFraming("The request line has no HTTP version")
    if request.version < (1, 1) and "Transfer-Encoding" in request.headers:
        # RFC 9112, 6.1: framing cannot be trusted, close the connection.
        raise InvalidFraming("Transfer-Encoding needs HTTP/1.1")
    if request.headers.get("Upgrade", "").strip().lower() == "websocket":
        # aiohttp takes what follows for the other protocol. Other upgrades it ignores, as everybody may.
        raise InvalidFraming("This server speaks HTTP only")


def write_reply(reply: Reply) -> web.Response:
    """Return the aiohttp response of a reply."""
    response = web.Response(status=reply.status, reason=reply.reason, body=reply.body or None)
    for name, value in reply.headers:
        response.headers[name] = value
    if reply.closes:
        response.force_close()
    return response
