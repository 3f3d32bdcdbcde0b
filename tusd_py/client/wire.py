"""Requests and answers: what happens on the network, told in words that a person understands.

Nothing is tried again here, and nothing is waited for without an end.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tusd_py.client.body import Body
from tusd_py.client.pace import Meter
from tusd_py.client.records import Options
from tusd_py.client.trouble import in_plain_words
from tusd_py.protocol.headers import is_field_value
from tusd_py.protocol.tus1_client import Answer, NotTus, Verdict
from tusd_py.protocol.tus1_verdicts import verdict_on

MOST_OF_AN_ANSWER = 4096
"""Bytes of the body of an answer that are read."""
LONGEST_FIELD = 128 * 1024
"""Most bytes of a header field of an answer: one that names all the parts of an upload is long."""

_LOOKS_A_SECOND = 4
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_READY_URL = re.compile(r"[!-~]+")
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Wire:
    """The connections to one server. Used by any number of tasks at once; entered before it is used."""

    def __init__(self, endpoint: str, options: Options, session: aiohttp.ClientSession | None = None) -> None:
        """Prepare connections.

        Args:
            endpoint: URL at which uploads are created. A user name and password in it are sent as `Authorization:
                Basic`, unless `options` have a token or that header.
            options: of them `headers`, `token`, `network_timeout` and `ssl`.
            session: stays the caller's, with its proxies, cookies and limits; None = one of our own, which takes
                proxies from the environment.

        Raises:
            ValueError: the URL, or a header, cannot be used.
        """
        url = _parsed(endpoint)
        self.endpoint = str(url.with_user(None).with_fragment(None))
        """The URL without a user name and password: for comparing, showing and keeping."""
        self._origin = _origin(url)
        self._headers = _checked(options.headers)
        if url.user is not None:
            credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode("ascii")
            self._headers.setdefault("Authorization", f"Basic {credentials}")
        self._options = options
        self._session = session
        self._owns_session = session is None

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                # Balancers know their clients by cookies, are often met by their address, and want theirs back as is.
                cookie_jar=aiohttp.CookieJar(unsafe=True, quote_cookie=False),
                headers={"User-Agent": f"tusd-py/{version('tusd-py')}"},
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def ask(
        self, method: str, url: str, head: dict[str, str], body: Body | None = None, *, work: float = 0.0
    ) -> Answer:
        """Send one request and return the answer, whatever it says. Redirections are not followed.

        The headers and the token of the options, and credentials, go to the origin of the endpoint only, and to its
        host over https where the endpoint has http. Cancelling it closes the connection; so does an answer that
        comes before the body is out. `work` is how many seconds the server may need for what is asked for.

        Raises:
            Unreachable: no answer came, or none that is HTTP. Silence counts as one after `network_timeout`: with a
                body, when for so long none of it was acknowledged.
            Denied: the proxy refuses.
            NotTus: `url` cannot be asked.
            Untrusted: the certificate does not prove who the server is.
            NotATusServer: it does not speak TLS.
            Exception: what the token, or the source of the body, raised.
        """
        target = _target(url)
        headers = await self._complete(head, target)
        try:
            patience = self._options.network_timeout + work
            with in_plain_words(target, patience, body):
                return await self._ask(method, target, headers, body, patience)
        finally:
            if body is not None:
                body.meter.detach()

    @asynccontextmanager
    async def stream(self, method: str, url: str, head: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request without a body, and yield the answer, whatever it says, for `read` and `verdict_on`.

        Whom headers and token go to, and what is raised before there is an answer, is as with `ask`. Leaving the block
        before the end of the answer closes the connection. Bytes that come packed, asked for or not, are left so.
        """
        target, patience = _target(url), self._options.network_timeout
        headers = await self._complete(head, target)
        with in_plain_words(target, patience, None):
            async with _patient(patience, None):
                asking = self._request(method, target, headers, None, patience=patience, unpacks=False)
                response = await asking.__aenter__()
        try:
            yield response
        finally:
            response.close()

    async def read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """Return the next bytes of an answer that is streamed, as they come, at most so many; b'' = its end.

        Raises:
            Unreachable: it broke off, and all that came before was returned; or nothing came for `network_timeout`.
        """
        with in_plain_words(response.url, self._options.network_timeout, None):
            try:
                return await response.content.read(most)
            except (aiohttp.ClientError, OSError):
                # The failure jumps the queue of aiohttp's stream.
                if rest := response.content._read_nowait(most):
                    return rest
                raise

    async def verdict_on(self, response: aiohttp.ClientResponse) -> Verdict:
        """Return what an answer that is streamed means, if it is no success."""
        beginning = await _beginning(response, self._options.network_timeout)
        return verdict_on(Answer(response.status, response.headers, beginning))

    async def _ask(
        self, method: str, url: URL, headers: CIMultiDict[str], body: Body | None, patience: float
    ) -> Answer:
        asking = self._request(method, url, headers, body, patience=patience, unpacks=True)
        async with _patient(patience, body.meter if body else None) as deadline, asking as response:
            deadline.reschedule(None)
            answer = Answer(response.status, response.headers, await _beginning(response, patience))
            if body is not None and body.failure is not None:
                raise body.failure
            return answer

    def _request(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: Body | None,
        *,
        patience: float,
        unpacks: bool,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None, "a wire is entered before it is used"
        return self._session.request(
            method,
            url,
            data=body,
            headers=headers,
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
            auto_decompress=unpacks,
            timeout=self._timeouts(body, patience),
            max_line_size=LONGEST_FIELD,
            max_field_size=LONGEST_FIELD,
            **self._route(url),
        )

    def _timeouts(self, body: Body | None, patience: float) -> aiohttp.ClientTimeout:
        # After its last byte was handed over, a body may have a long way to go.
        connect = self._options.network_timeout
        return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=None if body else patience)

    def _route(self, url: URL) -> dict[str, Any]:
        """Return how the session is told of proxies and certificates."""
        route: dict[str, Any] = {}
        if self._options.ssl is not None:
            route["ssl"] = self._options.ssl
        if self._owns_session and (proxy := _proxy_for(url)) is not None:
            route["proxy"] = proxy
        return route

    async def _complete(self, head: dict[str, str], url: URL) -> CIMultiDict[str]:
        headers = CIMultiDict({"Accept-Encoding": "identity"})
        if self._is_ours(url):
            headers.update(self._headers)
            token = await self._token()
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
        headers.update(head)
        return headers

    async def _token(self) -> str | None:
        given = self._options.token
        if given is None:
            return None
        told = given() if callable(given) else given
        token = (await told if inspect.isawaitable(told) else told).strip()
        if not is_field_value(token):
            raise ValueError("the token has characters in it that cannot be sent")
        return token

    def _is_ours(self, url: URL) -> bool:
        if _origin(url) == self._origin:
            return True
        scheme, host, _ = self._origin
        return (scheme, url.scheme) == ("http", "https") and (url.host or "").lower() == host


@asynccontextmanager
async def _patient(patience: float, meter: Meter | None) -> AsyncIterator[asyncio.Timeout]:
    """End the block with `TimeoutError` when it does not go on.

    Without a body, connecting and the answer may each take `patience`; with one, every byte that is acknowledged,
    and everything of ours that the body waits for, begins it anew.
    """
    if meter is None:
        async with asyncio.timeout(2 * patience) as deadline:
            yield deadline
        return

    async with asyncio.timeout(patience) as deadline:
        looking = asyncio.create_task(_look(meter, patience, deadline))
        try:
            yield deadline
        finally:
            looking.cancel()


async def _look(meter: Meter, patience: float, deadline: asyncio.Timeout) -> None:
    """Put a deadline off for as long as something goes on and it is a deadline still."""
    loop = asyncio.get_running_loop()
    seen = (False, 0)
    while deadline.when() is not None and not deadline.expired():
        now = (meter.is_connected, meter.acknowledged)
        if now != seen or meter.is_held:
            deadline.reschedule(loop.time() + patience)
        seen = now
        await asyncio.sleep(min(patience, 1.0) / _LOOKS_A_SECOND)


async def _beginning(response: aiohttp.ClientResponse, patience: float) -> bytes:
    """Return the first bytes of the body of an answer. One that breaks off or drips is shown as far as it came."""
    read = bytearray()
    try:
        async with asyncio.timeout(patience):
            while len(read) < MOST_OF_AN_ANSWER:
                piece = await response.content.read(MOST_OF_AN_ANSWER - len(read))
                if not piece:
                    return bytes(read)
                read += piece
    except (aiohttp.ClientError, OSError):
        response.close()
    return bytes(read)


def _parsed(endpoint: str) -> URL:
    try:
        url = URL(endpoint)
        usable = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    except ValueError as error:
        raise ValueError(f"{endpoint!r} is no URL: {error}") from error
    if not usable:
        raise ValueError(f"{endpoint!r} is no URL that begins with http:// or https:// and names a host")
    return url


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, (url.host or "").lower(), url.port


def _target(url: str) -> URL:
    """Return a URL that the server made, letter by letter where that can be sent."""
    try:
        target = URL(url, encoded=_READY_URL.fullmatch(url) is not None)
        if target.scheme in ("http", "https") and target.host:
            return target.with_user(None)
    except ValueError:
        pass
    raise NotTus(f"{url} is no URL that can be asked")


def _checked(headers: Mapping[str, str]) -> CIMultiDict[str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not is_field_value(value):
            raise ValueError(f"{name!r} is no header that can be sent")
        if name.lower() in _FRAMING:
            raise ValueError(f"the header {name} cannot be set: it belongs to the connection")
    return CIMultiDict(headers)


def _proxy_for(url: URL) -> str | None:
    """Return the proxy that the environment names.

    The session could do it, but would take passwords from ~/.netrc too, and fail where there is a token.
    """
    proxy = getproxies().get(url.scheme)
    return None if proxy is None or proxy_bypass(f"{url.host}:{url.port}") else proxy
