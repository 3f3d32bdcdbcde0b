"""The server under test: what it says it can do, and the requests that checks are made of."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import pytest

from conformance.rows import Deviation, expect
from conformance.wire import Answer, Connection

VERSION = "1.0.0"
T = {"Tus-Resumable": VERSION}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
SPEAKS = ("Tus-Version", "Tus-Resumable")
STATE = ("Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat")


class NoServer(Exception):
    """There is nothing here that the suite could be asked about; the message is one sentence."""


@dataclass(frozen=True)
class Upload:
    """An upload that a check made."""

    path: str
    """Path (and query) to ask for at the server under test, whatever host Location named."""
    location: str
    """Location as the server wrote it."""
    answer: Answer
    """The answer to the creation."""


@dataclass
class Server:
    """A tus server at host:port; every connection goes there and nowhere else."""

    url: str
    timeout: float = 10.0
    metadata: str = ""
    """Upload-Metadata that this server demands of every upload."""
    host: str = ""
    port: int = 80
    authority: str = ""
    base: str = "/"
    options: Answer | None = None
    made: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            self.port = 80 if parts.port is None else parts.port
        except ValueError:
            raise NoServer(f"{self.url!r} is not a URL.") from None
        if parts.scheme != "http" or not parts.hostname:
            raise NoServer(f"{self.url!r} is not a URL of the form http://host:port/path/.")
        if not (parts.netloc + parts.path).isascii() or any(c in self.url for c in " \r\n\t") or "@" in parts.netloc:
            raise NoServer(f"{self.url!r} is not a URL of the form http://host:port/path/.")
        self.host, self.authority = parts.hostname, parts.netloc
        self.base = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def greet(self) -> None:
        """Ask what the server speaks.

        Raises:
            NoServer: It is no tus 1.0.0 server, or none that answers.
        """
        try:
            answer = self.send("OPTIONS", self.base)
        except Deviation as error:
            raise NoServer(f"No tus server at {self.url}: {error}.") from None
        if not any(answer.get(name) for name in SPEAKS):
            kind = (answer.get("Content-Type") or "").partition(";")[0]
            what = f"{answer.status}" + (f" and {kind}" if kind else "")
            raise NoServer(f"No tus server at {self.url}: OPTIONS was answered with {what}, without Tus-Version.")
        versions = answer.words("Tus-Version") or answer.words("Tus-Resumable")
        if VERSION not in versions:
            spoken = ", ".join(versions)[:100]
            raise NoServer(f"The server at {self.url} speaks tus {spoken} and not {VERSION}.")
        self.options = answer

    @property
    def greeting(self) -> Answer:
        """The answer to OPTIONS."""
        assert self.options is not None
        return self.options

    @property
    def extensions(self) -> list[str]:
        """What the server advertises."""
        return self.greeting.words("Tus-Extension")

    @property
    def max_size(self) -> int | None:
        """The largest upload, where the server says so."""
        value = self.greeting.get("Tus-Max-Size") or ""
        return int(value) if value.isdigit() and value.isascii() and len(value) < 20 and int(value) else None

    @property
    def algorithms(self) -> list[str]:
        """The checksum algorithms that the server advertises."""
        return self.greeting.words("Tus-Checksum-Algorithm")

    def missing(self, needs: tuple[str, ...]) -> str | None:
        """Return the first of these that the server does not advertise."""
        for need in needs:
            if (need == "max-size" and self.max_size is None) or (need != "max-size" and need not in self.extensions):
                return need
        return None

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection(self.host, self.port, self.authority, self.timeout)

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send one request with exactly these headers (and what HTTP itself needs) and read the answer."""
        sized = {"Content-Length": str(len(body))} if body or method in ("POST", "PATCH", "PUT") else {}
        with self.connect() as connection:
            connection.start(method, path, {**sized, **(headers or {}), "Connection": "close"})
            if body:
                connection.send(body)
            return connection.answer()

    def send_chunked(self, method: str, path: str, headers: Mapping[str, str], *parts: bytes) -> Answer:
        """Send one request whose body comes in chunks, without a Content-Length."""
        with self.connect() as connection:
            connection.start(method, path, {**headers, "Transfer-Encoding": "chunked", "Connection": "close"})
            for part in (*parts, b""):
                connection.send_chunk(part)
            return connection.answer()

    def post(self, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """POST to the base URL with Tus-Resumable; what it makes is removed at the end."""
        metadata = self.demanded(headers.get("Upload-Metadata"))
        answer = self.send("POST", self.base, {**T, **headers, **metadata}, body)
        if (location := answer.get("Location")) and answer.fine:
            self.made.append(self.path_of(location))
        return answer

    def demanded(self, metadata: str | None) -> dict[str, str]:
        """Return the Upload-Metadata header of a creation: what the row wants, and what the server demands."""
        both = ",".join(each for each in (metadata, self.metadata) if each)
        return {"Upload-Metadata": both} if both or metadata is not None else {}

    def create(self, length: int | None = None, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Upload:
        """Create an upload, of deferred length when there is none; skip the check where that is not offered."""
        if missing := self.missing(("creation",) if length is not None else ("creation", "creation-defer-length")):
            pytest.skip(f"{missing} is not advertised")
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        return self.created(self.post({**size, **(headers or {})}, body))

    def created(self, answer: Answer) -> Upload:
        """Return the upload of an answer to POST; skip the check when there is none: rows of their own ask for that."""
        location = answer.get("Location")
        if not answer.fine or location is None:
            pytest.skip(f"no upload could be made: POST answered {answer.status} {answer.reason}".rstrip())
        return Upload(self.path_of(location), location, answer)

    def filled(self, data: bytes, headers: Mapping[str, str] | None = None) -> Upload:
        """Create an upload and fill it in one PATCH; skip the check when that does not work."""
        upload = self.create(len(data), headers)
        if data and not (answer := self.patch(upload, 0, data)).fine:
            pytest.skip(f"no upload could be filled: PATCH answered {answer.status} {answer.reason}".rstrip())
        return upload

    def patch(
        self, upload: Upload | str, offset: int | str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """PATCH with the usual headers; `headers` adds to them or replaces them."""
        path = upload if isinstance(upload, str) else upload.path
        return self.send("PATCH", path, {**T, **OCTETS, "Upload-Offset": str(offset), **(headers or {})}, body)

    def head(self, upload: Upload | str) -> Answer:
        """HEAD with Tus-Resumable."""
        return self.send("HEAD", upload if isinstance(upload, str) else upload.path, T)

    def delete(self, upload: Upload | str) -> Answer:
        """DELETE with Tus-Resumable."""
        return self.send("DELETE", upload if isinstance(upload, str) else upload.path, T)

    def get(self, upload: Upload, headers: Mapping[str, str] | None = None) -> Answer:
        """GET as a browser does."""
        return self.send("GET", upload.path, headers)

    def offset(self, upload: Upload) -> int:
        """Return the offset that HEAD shows."""
        answer = self.head(upload)
        expect(answer.fine, f"HEAD of the upload answered {answer.status}")
        return answer.number("Upload-Offset")

    def holds(self, upload: Upload, data: bytes) -> None:
        """Let the row fail when the server serves uploads by GET and serves other bytes than these."""
        answer = self.get(upload)
        if answer.status == 200:
            expect(answer.body == data, f"GET of the upload served {answer.body[:40]!r} instead of {data[:40]!r}")

    @contextlib.contextmanager
    def unchanged(self, upload: Upload) -> Iterator[None]:
        """Let the row fail when what HEAD shows is another thing after the block."""
        before = self.head(upload)
        yield
        after = self.head(upload)
        for name in STATE:
            old, new = before.get(name), after.get(name)
            expect(old == new, f"{name} was {old} before the refused request and {new} after it")

    def unknown(self) -> str:
        """Return the path of an upload that does not exist."""
        return self.base.partition("?")[0].rstrip("/") + "/" + uuid.uuid4().hex

    def path_of(self, location: str) -> str:
        """Return the path that a Location names; another host in it is noted and not followed."""
        parts = urlsplit(urljoin(f"http://{self.authority}{self.base}", location))
        if parts.netloc != self.authority or parts.scheme != "http":
            note = f"Location names {parts.scheme}://{parts.netloc} and not http://{self.authority}; not followed."
            if note not in self.notes:
                self.notes.append(note)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def round_trips(self) -> None:
        """Give the server a few turns, so that it has read what another connection sent before."""
        for _ in range(5):
            self.send("OPTIONS", self.base)

    def settles(self, upload: Upload, offset: int) -> None:
        """Let the row fail unless HEAD shows an offset within a few seconds: servers may need time to notice."""
        deadline = time.monotonic() + min(5.0, self.timeout)
        while (seen := self.offset(upload)) != offset and time.monotonic() < deadline:
            self.round_trips()
        expect(seen == offset, f"HEAD shows {seen} after {offset} bytes were sent")

    def tidy(self) -> None:
        """Terminate what was made, where termination is offered."""
        made, self.made = self.made, []
        if "termination" in self.extensions:
            for path in dict.fromkeys(made):
                with contextlib.suppress(Deviation):
                    self.delete(path)
