"""Hooks and jobs that are URLs: one POST with the payload, a short JSON answer.

Whoever answers is trusted with a decision and with nothing else (reliability 5.2, rows 55, 56, 58 and 59): it cannot
lead elsewhere, keep anybody waiting, or make the server swallow or unpack what is large.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from importlib.metadata import version

import aiohttp
import yarl

from tusd_py.errors import HookFailed
from tusd_py.hooks.delivery import Letter, SelectiveHandler, Work, read_result
from tusd_py.hooks.payload import MAX_REPLY, decode_reply, legible
from tusd_py.hooks.signature import HEADER, sign
from tusd_py.models.hook import HookEvent, HookReply, Moment

CONNECTIONS = 16
"""Requests to one URL at the same time; further ones wait."""
IDLE = 4.0
"""Seconds for which a connection waits for the next request: less than the usual servers let it."""

# What the body is, where it goes and how is not the client's to say, whatever is forwarded of it.
_RESERVED = re.compile(
    r"host|content-.*|accept-encoding|connection|transfer-encoding|upgrade|keep-alive|te|trailer|expect|user-agent"
    r"|hook-name|idempotency-key|x-tus-signature",
    re.IGNORECASE,
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True)
class Post:
    """A URL and how it is told.

    Args:
        url: credentials in it become an `Authorization` header.
        retries: further tries after a network error, a 5xx or a 429.
        backoff: seconds between two tries.
        forward: names of headers that are passed on from the request of the client.
        secret: signs every request, see `tusd_py.hooks.signature`; empty or None = they are not signed.
        public_only: refuse to connect to addresses of this machine and of private networks.
        now: seconds since the Unix epoch.
    """

    url: str = field(repr=False)
    _: KW_ONLY
    retries: int = 3
    backoff: float = 1.0
    forward: Collection[str] = ()
    secret: str | None = field(default=None, repr=False)
    public_only: bool = False
    now: Callable[[], float] = time.time


class HttpHandler(SelectiveHandler):
    """Posts every event to a URL and reads the reply from the answer.

    Args:
        timeout: seconds for one event, with everything that is tried for it.
    """

    def __init__(
        self,
        name: str,
        post: Post,
        *,
        moments: Collection[Moment],
        wants: Callable[[HookEvent], bool] = lambda _: True,
        timeout: float = 15.0,
        letter: Letter | None = None,
    ) -> None:
        super().__init__(name, moments=moments, wants=wants)
        self._endpoint = _Endpoint(post, timeout=timeout, letter=letter)

    async def handle(self, event: HookEvent, *, key: str, attempt: int = 1) -> HookReply:
        """Post the event. Raises `HookFailed` unless the answer is a 2xx with a usable reply."""
        del attempt  # the receiver knows the key
        return decode_reply(await self._endpoint.post(event, key), event.moment)

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._endpoint.close()


class HttpTask:
    """Posts the event of a job to a URL, usable as the `run` of a task; the JSON of the answer is the result.

    An attempt is one try, whatever `retries` says: the job is tried again.
    """

    def __init__(self, name: str, post: Post, *, timeout: float = 3600.0, letter: Letter | None = None) -> None:
        self.name = name
        self._endpoint = _Endpoint(replace(post, retries=0), timeout=timeout, letter=letter)

    async def __call__(self, work: Work) -> object:
        """Return the result. Raises `HookFailed` unless the answer is a 2xx with JSON or nothing."""
        return read_result(await self._endpoint.post(work.event, work.key))

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._endpoint.close()


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet can be reached at."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is None:
            return ip in _UNICAST and ip.is_global
        ip = inner
    # Multicast is global to the standard library.
    return ip.is_global and not ip.is_multicast


class _Again(Exception):
    """The try failed in a way that may be over soon; the message says how."""


class _Endpoint:
    """A URL, and the connections to it."""

    def __init__(self, post: Post, *, timeout: float, letter: Letter | None) -> None:
        parsed = yarl.URL(post.url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("a hook needs a URL that begins with http:// or https:// and has a host")
        self._url = parsed.with_user(None).with_fragment(None)
        # Once: it is read from the disk.
        self._own = {"User-Agent": f"tusd-py/{version('tusd-py')}"}
        if parsed.user is not None:
            credentials = f"{parsed.user}:{parsed.password or ''}".encode()
            self._own["Authorization"] = f"Basic {base64.b64encode(credentials).decode('ascii')}"
        self._post = post
        self._timeout = timeout
        self._letter = letter or Letter()
        self._forward = {name.lower() for name in post.forward if not _RESERVED.fullmatch(name)}
        self._forward -= {name.lower() for name in self._own}
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def post(self, event: HookEvent, key: str) -> bytes:
        """Return the answer, at most `MAX_REPLY` bytes. Raises `HookFailed`."""
        body = self._letter.write(event)
        headers = self._headers(event, key)
        problem = ""
        try:
            async with asyncio.timeout(self._timeout):
                for number in range(1 + self._post.retries):
                    if number:
                        await asyncio.sleep(self._post.backoff)
                    try:
                        return await self._try(body, headers)
                    except _Again as error:
                        problem = str(error)
        except TimeoutError as error:
            before = f"; before that, {problem}" if problem else ""
            raise HookFailed(f"the URL gave no whole answer within {self._timeout:g} s{before}") from error
        raise HookFailed(problem)

    async def close(self) -> None:
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _try(self, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
        if self._is_closed:
            raise HookFailed("the server is shutting down")
        if self._post.secret:
            headers = [*headers, (HEADER, sign(self._post.secret, body, now=self._post.now()))]
        try:
            async with self._opened().post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                return await _read(response)
        # None of their causes: they quote the URL, whose query may be secret.
        except aiohttp.InvalidURL:
            raise HookFailed("the URL cannot be used") from None
        except aiohttp.ClientSSLError:
            raise HookFailed("the URL's certificate or version of TLS is not acceptable") from None
        except aiohttp.ClientError as error:
            raise _Again(_reason(error)) from None

    def _headers(self, event: HookEvent, key: str) -> list[tuple[str, str]]:
        own = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Hook-Name": str(event.moment),
            "Idempotency-Key": key,
            **self._own,
        }
        # In one spelling: of two that differ in case only, the session would send the last.
        sent = [(name.title(), legible(text)) for name, text in event.request.headers if name.lower() in self._forward]
        return [*own.items(), *sent]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                # The deadline is one for all tries.
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        # A connection that the other side closes just now costs a try, and there may be only one.
        keep = {"force_close": True} if self._post.retries == 0 else {"keepalive_timeout": IDLE}
        if self._post.public_only:
            # One after the other: what may not be connected to ends the call, not only that address.
            return aiohttp.TCPConnector(
                limit=CONNECTIONS, socket_factory=_public_socket, happy_eyeballs_delay=None, **keep
            )
        return aiohttp.TCPConnector(limit=CONNECTIONS, **keep)


def _public_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket for the very address that is connected to next, however the URL or a name server spells it."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise HookFailed("the URL leads to an address that is not public")
    return socket.socket(family, kind, protocol)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.status >= 500 or response.status == 429:
        raise _Again(f"the URL answered {response.status}")
    if not 200 <= response.status <= 299:
        raise HookFailed(f"the URL answered {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HookFailed("the answer has a Content-Encoding, which was not asked for")
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_REPLY:
            raise HookFailed(f"the answer is longer than {MAX_REPLY} bytes")
    return bytes(body)


def _reason(error: aiohttp.ClientError) -> str:
    """Return what went wrong in words that have nothing of the URL in them."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"the URL cannot be connected to: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    return f"the connection to the URL was lost: {type(error).__name__}"
