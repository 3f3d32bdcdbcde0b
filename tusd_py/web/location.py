"""Under which URL a client sees an upload: directly, behind proxies, under a public name (protocol section 10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

Network = IPv4Network | IPv6Network

_FORWARDED = ("Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Prefix", "Via")
# RFC 3986 reg-name or IPv6 literal, with an optional port; nothing that could split a header or a URL.
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,253}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
# RFC 7239, section 4: forwarded-pair = token "=" (token / quoted-string).
_PAIR = re.compile(r'\s*([A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^";,\s]*))\s*')
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


class EdgePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the way between client and server."""

    public_url: str | None = None
    """URL of the mount as clients see it; Location always starts with it."""
    relative: bool = False
    """Answer with a path instead of a URL."""
    behind_proxy: bool = False
    """Believe forwarded headers of trusted direct peers."""
    trusted: tuple[Network, ...] = ()
    """Networks of trusted proxies; a peer on a Unix socket is always trusted."""


class Edge(msgspec.Struct, frozen=True):
    """Where one request entered: what its client would type."""

    scheme: str
    host: str | None
    """Host with port, default port removed; None = unknown, so only a path is right."""
    prefix: str = ""
    """A path that a trusted proxy removed from the front."""

    @property
    def origin(self) -> str | None:
        """The origin of the server as the client sees it, or None."""
        return None if self.host is None else f"{self.scheme}://{self.host}"


def find_edge(request: web.Request, policy: EdgePolicy) -> Edge:
    """Return where a request entered.

    Forwarded headers of an untrusted peer are never used; but they say that our own Host is not what the client
    sees, so then only a path is right (CRE-POST-02, FWD-01).
    """
    direct = Edge(request.scheme, _clean_host(request.headers.get("Host"), request.scheme))
    headers = request.headers
    for name in _FORWARDED:  # a loop: done for each request
        if name in headers:
            if policy.behind_proxy and _is_trusted(request, policy.trusted):
                return _forwarded_edge(request, direct)
            return Edge(direct.scheme, None)
    return direct


def location_of(policy: EdgePolicy, edge: Edge, base_path: str, upload_id: str) -> str:
    """Return the URL of an upload for the `Location` header."""
    if policy.public_url is not None:
        return f"{policy.public_url.rstrip('/')}/{upload_id}"
    path = f"{edge.prefix}{base_path}{upload_id}"
    if policy.relative or edge.origin is None:
        return path
    return edge.origin + path


def own_origins(policy: EdgePolicy, edge: Edge) -> Sequence[str]:
    """Return the origins that are this server itself."""
    origins = [] if edge.origin is None else [edge.origin]
    if policy.public_url is not None:
        url = urlsplit(policy.public_url)
        origins.append(f"{url.scheme}://{url.netloc}")
    return origins


def public_bases(policy: EdgePolicy, edge: Edge, base_path: str) -> tuple[str, ...]:
    """Return further paths under which clients know this mount, for the URLs in a concatenation (CAT-05)."""
    bases = []
    if edge.prefix:
        bases.append(edge.prefix + base_path)
    if policy.public_url is not None:
        bases.append(urlsplit(policy.public_url).path.rstrip("/") + "/")
    return tuple(bases)


def _is_trusted(request: web.Request, networks: Sequence[Network]) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not isinstance(peer, tuple):
        return peer is not None
    try:
        address = ip_address(peer[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def _forwarded_edge(request: web.Request, direct: Edge) -> Edge:
    """Read the first hop of `Forwarded`, else of `X-Forwarded-*`; whatever is not well formed is not believed."""
    headers = request.headers
    pairs = _first_forwarded(headers.get("Forwarded", ""))
    if not pairs:
        pairs = {
            "proto": headers.get("X-Forwarded-Proto", "").partition(",")[0].strip(),
            "host": headers.get("X-Forwarded-Host", "").partition(",")[0].strip(),
        }
    proto = pairs.get("proto", "").lower()
    scheme = proto if proto in _DEFAULT_PORT else direct.scheme
    host = _clean_host(pairs.get("host"), scheme) or _clean_host(headers.get("Host"), scheme)
    prefix = headers.get("X-Forwarded-Prefix", "").partition(",")[0].strip().rstrip("/")
    return Edge(scheme, host, prefix if _PREFIX.fullmatch(prefix) else "")


def _first_forwarded(header: str) -> dict[str, str]:
    """Return the pairs of the first element of a `Forwarded` header (RFC 7239), names in lower case."""
    pairs: dict[str, str] = {}
    position = 0
    while match := _PAIR.match(header, position):
        quoted, token = match.group(2), match.group(3)
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token
        pairs.setdefault(match.group(1).lower(), value)
        position = match.end()
        if header[position : position + 1] != ";":
            break
        position += 1
    return pairs


def _clean_host(host: str | None, scheme: str) -> str | None:
    """Return a host that may stand in a URL, without the scheme's own port; None when it is not one."""
    match = None if host is None else _HOST.fullmatch(host)
    if host is None or match is None:
        return None
    literal, port = match.groups()
    # Nobody could follow such a URL; most libraries refuse to read it.
    if (port is not None and int(port) >= 2**16) or (literal is not None and not _is_ipv6(literal)):
        return None
    return host.removesuffix(_DEFAULT_PORT.get(scheme, ":"))


def _is_ipv6(literal: str) -> bool:
    try:
        IPv6Address(literal)
    except ValueError:
        return False
    return True
