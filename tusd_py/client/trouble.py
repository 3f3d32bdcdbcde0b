"""What goes wrong between a request and its answer, in words that a person understands."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from yarl import URL

from tusd_py.client.body import Body
from tusd_py.client.errors import NotATusServer, Untrusted
from tusd_py.protocol.tus1_client import Denied, NotTus, TryAgain

# What OpenSSL calls an answer that is no TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
_OF_OPENSSL = re.compile(r"\[SSL(?:: \w+)?\] (.*?)(?: \(_ssl.*)?$")
# Where each of several addresses failed in its own way.
_NUMBERS = re.compile(r"\[Errno (\d+)\]")


class Unreachable(TryAgain):
    """No answer came."""


@contextmanager
def in_plain_words(url: URL, patience: float, body: Body | None) -> Iterator[None]:
    """Turn whatever aiohttp and the system raise within the block into what the client means by it.

    Args:
        url: what is asked.
        patience: seconds after which it counts as silent.
        body: of the request. What went wrong with it counts more than what the network made of that.

    Raises:
        Unreachable, TryAgain: it may go better another time.
        Denied, NotTus, NotATusServer, Untrusted: it will not.
    """
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Untrusted(f"{reason_of(error.certificate_error)}; --ca-file names who else is to be trusted") from error
    except aiohttp.InvalidURL as error:
        raise NotTus(f"{url} is no URL that can be asked") from error
    except aiohttp.ClientHttpProxyError as error:
        reason = f"the proxy answered {error.status} {error.message}".rstrip()
        failure = TryAgain if error.status >= 500 or error.status == 429 else Denied
        raise failure(reason, status=error.status) from error
    except aiohttp.ClientConnectorSSLError as error:
        if getattr(error.os_error, "reason", None) in _NO_TLS:
            raise NotATusServer(f"{url.host} port {url.port} does not speak TLS; is it http:// there?") from error
        raise Unreachable(reason_of(error.os_error)) from error
    except (aiohttp.ClientError, OSError) as error:
        if body is not None and body.failure is not None:
            raise body.failure from error
        raise Unreachable(_failing(error, patience, body)) from error


def _failing(error: Exception, patience: float, body: Body | None) -> str:
    """Return in one line why there is no answer."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connecting(error)
    if isinstance(error, TimeoutError) and error.errno is None:
        is_connected = body.meter.is_connected if body else not isinstance(error, aiohttp.ConnectionTimeoutError)
        return f"no {'answer' if is_connected else 'connection'} for {patience:g} s"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError) or not isinstance(error, OSError):
        return "the server closed the connection"
    return reason_of(error)


def _not_connecting(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(error.os_error, socket.gaierror):
        return f"name not known: {error.host}"
    reason = reason_of(error.os_error)
    return f"the proxy cannot be reached: {reason}" if isinstance(error, aiohttp.ClientProxyConnectionError) else reason


def reason_of(error: BaseException) -> str:
    """Return what the system says, in its own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message.rstrip('.')}"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if told := _OF_OPENSSL.search(text):
        return f"TLS failed: {told[1]}"
    # The event loop puts words and addresses of its own around them.
    if isinstance(error, OSError) and error.errno:
        numbers = [error.errno]
    else:
        numbers = [int(number) for number in _NUMBERS.findall(text)]
    reasons = dict.fromkeys(map(os.strerror, numbers)) or [text]
    return ", ".join(reason[:1].lower() + reason[1:] for reason in reasons)
