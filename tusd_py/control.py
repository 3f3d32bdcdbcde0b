"""How another process of this machine asks a running server to do something: a Unix socket in its data directory.

A second process must not write into the database beside the server (reliability 3.2), so it asks. One line of JSON
goes in, `{"verb": "retry", "args": {"task": "..."}}`, and one comes out: `{"ok": ...}` or
`{"error": {"code": "...", "message": "..."}}`. Then the connection ends.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tusd_py.errors import StoreError
from tusd_py.jobs.steps import JobStateError
from tusd_py.jobs.verbs import JobNotFound

log = logging.getLogger(__name__)

LONGEST_LINE = 64 * 1024
"""Bytes of a question and of an answer."""
PATIENCE = 10.0
"""Seconds for a question and what it asks for."""
MOST_CONNECTIONS = 16
"""Questions at the same time; more are turned away."""

_LONGEST_ADDRESS = 107
"""Bytes of a path that a socket takes."""
_MODE = 0o600
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of a peer, as the kernel tells them."""
_ROOT = 0

Verb = Callable[..., Awaitable[object]]


class Unreachable(Exception):
    """No server listens there; the message says why."""


class Refused(Exception):
    """The server did not do what it was asked; the message is a sentence for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """`not-found`, `refused`, `failed`, `timeout`, `busy`, `forbidden`, `bad-request` or `no-answer`."""


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    verb: str
    args: dict[str, str] = {}


class _Problem(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    ok: Any = msgspec.UNSET
    error: _Problem | msgspec.UnsetType = msgspec.UNSET


class ControlSocket:
    """Does what other processes of the same user, or of root, ask for; as long as the data directory is held."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        """Prepare a socket.

        Args:
            path: where the socket will be.
            verbs: what can be asked for. Each takes texts by name, and returns what can be JSON. Cancelled when it
                takes longer than `PATIENCE` seconds.
        """
        self._path = path
        self._verbs = verbs
        self._directory: int | None = None
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, in the place of a socket that a killed server left.

        A server that cannot be asked is better than none, on a full disk, say: then this is logged, nothing raised.
        """
        try:
            self._directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._remove_stale()
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # Before it has a name, so that there is no moment at which others could connect.
                os.fchmod(listening.fileno(), _MODE)
                listening.bind(_address(self._path, self._directory))
                # The umask may have left it less than that.
                os.chmod(self._path.name, _MODE, dir_fd=self._directory)
                self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=LONGEST_LINE)
            except BaseException:
                listening.close()
                raise
        except BaseException as error:
            await self.close()
            if not isinstance(error, OSError):
                raise
            log.warning("%s cannot be listened on: %s", self._path, error, extra={"action": "control_unavailable"})

    async def close(self) -> None:
        """Stop listening, give up what is asked just now, and remove the socket. Safe to call twice."""
        server, self._server = self._server, None
        directory, self._directory = self._directory, None
        if server is not None:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if directory is not None:
            if server is not None:
                with suppress(OSError):
                    os.unlink(self._path.name, dir_fd=directory)
            os.close(directory)

    def _remove_stale(self) -> None:
        """Remove what a killed server left; nobody else owns it, as this process holds the data directory."""
        name, directory = self._path.name, self._directory
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode):
            raise FileExistsError("something that is no socket is in the way; remove it")
        os.unlink(name, dir_fd=directory)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            writer.transport.abort()
        elif len(self._serving) >= MOST_CONNECTIONS:
            writer.write(_encode_refusal(Refused("busy", "the server is asked for too much at once; try again")))
            writer.close()
        else:
            task = asyncio.create_task(self._serve(reader, writer), name="tusd-py control")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await self._answer(reader, writer))
            writer.close()
            async with asyncio.timeout(PATIENCE):
                await writer.wait_closed()
        except OSError:
            pass  # whoever asked does not listen any more
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                _check_peer(writer)
                return await self._obey(await _question(reader))
        except Refused as refusal:
            return _encode_refusal(refusal)
        except TimeoutError:
            return _encode_refusal(Refused("timeout", f"the server did not manage within {PATIENCE:g} s"))

    async def _obey(self, question: _Question) -> bytes:
        """Do what is asked, and return the line that says so. Raises `Refused`, and nothing else."""
        verb = self._verbs.get(question.verb)
        if verb is None:
            raise Refused("bad-request", f"this server knows no verb {question.verb!r}")
        try:
            inspect.signature(verb).bind(**question.args)
        except TypeError as error:
            raise Refused("bad-request", f"{question.verb}: {error}") from None
        try:
            line = _encode(_Answer(ok=await verb(**question.args)))
        except JobNotFound as error:
            raise Refused("not-found", str(error)) from None
        except JobStateError as error:
            raise Refused("refused", str(error)) from None
        except StoreError as error:
            raise Refused("failed", error.message) from None
        except Exception:
            log.exception("%s failed", question.verb, extra={"action": "control_failed"})
            raise Refused("failed", "a fault of the server; its log has the traceback") from None
        return line


def ask(path: Path, verb: str, /, **args: str) -> object:
    """Ask the server that listens on a socket to do something, wait for it, and return what it says.

    Raises:
        Unreachable: nobody was asked.
        Refused: it was not done; only after `no-answer`, `timeout` and `failed` it may have been done all the same.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # The server has its own deadline, and says when that has passed.
        connection.settimeout(2 * PATIENCE)
        try:
            with _directory_of(path) as directory:
                connection.connect(_address(path, directory))
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror or error}") from error
        with suppress(OSError):
            # One that turns us away does not read this; what it says is there all the same.
            connection.sendall(_encode(_Question(verb, args)))
        try:
            with connection.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline(LONGEST_LINE), type=_Answer)
        except (OSError, ValueError) as error:
            raise Refused("no-answer", "the server gave no answer") from error
    if isinstance(answer.error, _Problem):
        raise Refused(answer.error.code, answer.error.message)
    return answer.ok


async def _question(reader: asyncio.StreamReader) -> _Question:
    try:
        line = await reader.readline()
    except ValueError:
        raise Refused("bad-request", f"a line has at most {LONGEST_LINE} bytes") from None
    try:
        return msgspec.json.decode(line, type=_Question)
    except (ValueError, RecursionError) as error:
        raise Refused("bad-request", f"this is no question: {error}") from None


def _check_peer(writer: asyncio.StreamWriter) -> None:
    """Turn away other users, whom the modes of directory and socket would let in if somebody changed them."""
    packed = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(packed)
    if user not in (_ROOT, os.geteuid()):
        raise Refused("forbidden", f"user {user} may not ask this server for anything")


@contextmanager
def _directory_of(path: Path) -> Iterator[int]:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory
    finally:
        os.close(directory)


def _address(path: Path, directory: int) -> str:
    """Return a path short enough for a socket, of a file in an open directory."""
    return str(path) if len(os.fsencode(path)) <= _LONGEST_ADDRESS else f"/proc/self/fd/{directory}/{path.name}"


def _encode_refusal(refusal: Refused) -> bytes:
    return _encode(_Answer(error=_Problem(refusal.code, str(refusal))))


def _encode(record: object) -> bytes:
    return msgspec.json.encode(record) + b"\n"
