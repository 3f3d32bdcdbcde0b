"""One request from head to answer: edge checks, dialect, engine, reply."""

from __future__ import annotations

import logging

import msgspec
from aiohttp import web

from tusd_py.engine.moments import Caller
from tusd_py.engine.service import Engine
from tusd_py.errors import (
    InternalServerError,
    MissingVersion,
    OriginNotAllowed,
    StoreError,
    TusError,
    UploadNotFound,
)
from tusd_py.models.limits import Limits
from tusd_py.protocol.dialect import Dialect
from tusd_py.protocol.intents import Append, Create, Describe, Discover, Download, Inspect, Intent, Terminate
from tusd_py.protocol.messages import Reply, RequestHead
from tusd_py.protocol.shaping import shaped
from tusd_py.protocol.tus1 import Tus1
from tusd_py.web import download
from tusd_py.web.adapt import HIDDEN, check_framing, describe_request, read_head, write_reply
from tusd_py.web.body import RequestBody
from tusd_py.web.cors import Cors, CorsPolicy
from tusd_py.web.location import EdgePolicy, find_edge, location_of, own_origins
from tusd_py.web.stream import can_detach

log = logging.getLogger(__name__)


class MountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one mount shows an engine to the world. Every field has its setting."""

    limits: Limits = msgspec.field(default_factory=Limits)
    cors: CorsPolicy = msgspec.field(default_factory=CorsPolicy)
    edge: EdgePolicy = msgspec.field(default_factory=EdgePolicy)
    network_timeout: float = 60.0
    """Seconds without a byte, in or out, after which a transfer is ended."""
    data_plane_from: int | None = 768 * 1024
    """Bytes that must be left of a body for its socket to be given to the store; None = read every body here."""
    direct_from: int | None = 96 * 1024
    """Bytes that must be left of one that is read here to be taken past the parser; None = parse every body."""
    tell_headers: tuple[str, ...] = ()
    """Headers with credentials that hooks and jobs are told all the same."""
    max_upload_rate: int | None = None
    """Bytes a second that are taken from one body; None = as they come."""


class Mount:
    """Uploads under one path of one aiohttp application."""

    def __init__(self, engine: Engine, options: MountOptions) -> None:
        self._engine = engine
        self._options = options
        self._limits = options.limits
        self._dialect: Dialect = Tus1(options.limits)
        self._cors = Cors(options.cors)
        self._hidden = HIDDEN - {name.lower() for name in options.tell_headers}
        self._detach_from = options.data_plane_from if can_detach() else None
        self._direct_from = options.direct_from if can_detach() else None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request below the mount; never raises but for a connection that is gone."""
        edge = find_edge(request, self._options.edge)
        head = read_head(request, self._options.edge, edge)
        try:
            cors = self._cors.headers_for(request.headers, request.method, own_origins(self._options.edge, edge))
        except OriginNotAllowed as error:
            return self._respond(self._dialect.refused(error, head), self._cors.refusal_headers())
        options = self._options
        with RequestBody(
            request,
            timeout=options.network_timeout,
            detach_from=self._detach_from,
            direct_from=self._direct_from,
            rate=options.max_upload_rate,
        ) as body:
            try:
                check_framing(request)
                intent = await self._read(head)
                if isinstance(intent, Download):
                    return await self._download(request, intent, cors)
                location = location_of(self._options.edge, edge, head.base_paths[0], "")
                reply = await self._answer(intent, body, request, location)
            except TusError as error:
                reply = self._dialect.refused(error, head)
            except ConnectionError:
                raise
            except OSError:
                log.exception("the disk failed", extra={"action": "store_failed"})
                reply = self._dialect.refused(StoreError("The server could not use its disk; try again"), head)
            except Exception:
                log.exception("a request failed", extra={"action": "request_failed"})
                reply = self._dialect.refused(InternalServerError(), head)
            response = self._respond(reply, cors)
            if body.is_cut:
                response.force_close()
            if body.is_withheld and head.has_body:
                _leave_body(request, response)
            return response

    async def _read(self, head: RequestHead) -> Intent:
        try:
            return self._dialect.read(head)
        except MissingVersion:
            # An unknown upload is not found, whoever asks in whatever language (CORE-VER-04).
            if head.upload_id is not None and not await self._engine.exists(head.upload_id):
                raise UploadNotFound from None
            raise

    async def _answer(self, intent: Intent, body: RequestBody, request: web.Request, location: str) -> Reply:
        engine, dialect = self._engine, self._dialect
        match intent:
            case Inspect():
                upload = await engine.inspect(intent.upload_id)
                return dialect.inspected(upload, location + upload.id)
            case Discover():
                return dialect.discovered()
            case Describe():
                return dialect.described(*await engine.describe(intent.upload_id))
        caller = self._caller(request)
        match intent:
            case Append():
                upload = await engine.append(intent, body, self._limits, caller)
                return shaped(dialect.appended(upload, location + upload.id), caller.reply)
            case Create():
                upload = await engine.create(intent, body, self._limits, caller)
                return shaped(dialect.created(intent, upload, location + upload.id), caller.reply)
            case Terminate():
                await engine.terminate(intent.upload_id, caller)
                return shaped(dialect.terminated(), caller.reply)
        raise AssertionError(f"no answer to {intent!r}")  # pragma: no cover

    def _caller(self, request: web.Request) -> Caller:
        # Most have no hooks and no jobs, and need not pay for them.
        return Caller(describe_request(request, self._hidden) if self._engine.tells else None)

    async def _download(self, request: web.Request, intent: Download, cors: dict[str, str]) -> web.StreamResponse:
        upload, reader = await self._engine.open_download(intent.upload_id)
        try:
            headers = {"Tus-Resumable": "1.0.0", "X-Content-Type-Options": "nosniff", **cors}
            return await download.send(request, upload, reader, headers, timeout=self._options.network_timeout)
        finally:
            await reader.close()

    def _respond(self, reply: Reply, cors: dict[str, str]) -> web.Response:
        response = write_reply(reply)
        response.headers.update(cors)
        return response


async def leave_expectation(request: web.Request) -> None:
    """Send no `100 Continue` yet: `RequestBody` does, once every check has passed (CORE-BODY-10).

    aiohttp runs this before the handler and before the host's middlewares; it must not look anything up.
    """


def _leave_body(request: web.Request, response: web.Response) -> None:
    """Do not let aiohttp wait for the rest of a body that will not come."""
    response.force_close()
    request.content.feed_eof()
    if request.transport is not None:
        request.transport.pause_reading()
