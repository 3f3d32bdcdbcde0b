"""URLs, paths, origins and networks as settings take them: each function answers with a normal form or refuses."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from tusd_py.settings.kinds import MASK, quote

ANY_ORIGIN = "*"
"""The entry that lets pages of every origin upload."""

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._*-]+|\[[0-9a-f:.]+\])(:(?:[0-9]{1,5}|\*))?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SEGMENTS = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@-]+/)*")


def check_url(url: str) -> str:
    """Return an absolute http(s) URL as given, without a query."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in _DEFAULT_PORTS or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} is not an absolute http:// or https:// URL")
    if "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError(f"{url!r} must have no query, no fragment and no user name")
    return f"{parts.scheme}://{parts.netloc}{_slashed(parts.path) if parts.path else ''}"


def check_hook_url(url: str) -> str:
    """Return an absolute http(s) URL as given. No message has the user name and password that it may begin with."""
    # What is malformed may have its password anywhere before the last "@".
    told = quote(f"{MASK}@{url.rpartition('@')[2]}" if "@" in url else url)
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in _DEFAULT_PORTS or not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError(f"{told} is not an absolute http:// or https:// URL")
    if "#" in url:
        raise ValueError(f"{told} must have no fragment")
    if parts.netloc.startswith(f"{MASK}@"):
        raise ValueError(f"{told} has a mask where user name and password were; write them")
    return url


def hide_user(url: str) -> str:
    """Return a URL as everybody may see it: with a mask for user name and password."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{MASK}@{host}").geturl() if at else url


def check_header(name: str) -> str:
    """Return the name of a header in lower case."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{quote(name)} is not the name of a header")
    return name.lower()


def check_base_path(path: str) -> str:
    """Return a URL path with a slash at both ends; an absolute URL is kept as `check_url` returns it."""
    return check_url(path) if "://" in path else _slashed(path)


def check_origin(origin: str) -> str:
    """Return an origin, a pattern of origins, `null` or `*` in the form in which browsers write origins."""
    origin = origin.lower()
    if origin in (ANY_ORIGIN, "null"):
        return origin
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise ValueError(
            f"{origin!r} is not an origin; write scheme://host, like https://app.example.com or https://*.example.com"
        )
    scheme, host, port = match.groups(default="")
    if not _ends_literally(host):
        raise ValueError(f"{origin!r} would let in foreign domains; a '*' in the host must be followed by '.domain'")
    return f"{scheme}://{host}{'' if port == _DEFAULT_PORTS.get(scheme) else port}"


def is_closed(origin: str) -> bool:
    """Whether an entry matches one owner's hosts only: no `null`, and `*` only below a domain of two labels or more."""
    _, star, tail = origin.partition("://")[2].partition(":")[0].rpartition("*")
    return origin not in (ANY_ORIGIN, "null") and (not star or tail.count(".") > 1)


def check_network(network: str) -> str:
    """Return an address or a CIDR network in its normal form."""
    try:
        return str(ipaddress.ip_network(network, strict=False))
    except ValueError:
        raise ValueError(f"{network!r} is not an IP address or network; write 10.0.0.7 or 10.0.0.0/8") from None


def _ends_literally(host: str) -> bool:
    """Whether what follows the last `*` begins at a label of the domain: `*.a.b` and `*-x.a.b`, not `*a.b` or `a.*`."""
    _, star, tail = host.rpartition("*")
    label, _, domain = tail.partition(".")
    if not star:
        return True
    return bool(domain) and (not label or (label.startswith("-") and "." in domain))


def _slashed(path: str) -> str:
    inner = path.strip("/")
    if not _SEGMENTS.fullmatch(f"{inner}/" if inner else "") or {".", ".."} & set(inner.split("/")):
        raise ValueError(f"{path!r} is not a plain URL path like /files/")
    return f"/{inner}/" if inner else "/"
