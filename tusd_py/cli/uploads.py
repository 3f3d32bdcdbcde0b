"""`tusd-py uploads`: look at the uploads of a data directory, and remove some."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from tusd_py.cli.looking import looking, settings_with_database
from tusd_py.cli.options import Refusal, refusals, setting_options
from tusd_py.cli.resumable import resumable
from tusd_py.cli.text import date, document, printable, round_size, round_span, table
from tusd_py.datadir import DataDirBusy, open_data_dir, uploads_in
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.protocol.metadata import read_metadata
from tusd_py.settings import Settings
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore

_BATCH = 1000
_BLOCK = 512
"""Bytes in one unit of `st_blocks`, whatever the file system (POSIX)."""

_COLUMNS = ("ID", "KIND", "STATE", "OFFSET / LENGTH", "%", "EXPIRES", "FILENAME")


@click.group()
def uploads() -> None:
    """Look at the uploads of a data directory, and remove some."""


uploads.add_command(resumable)


@uploads.command(params=setting_options("data_dir"))
@click.option("--state", type=click.Choice([str(state) for state in UploadState]), help="Only uploads in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def ls(ctx: click.Context, /, state: str | None, as_json: bool, **_: object) -> None:
    """List uploads, the oldest first. A running server is not disturbed."""
    settings = settings_with_database(ctx)
    states = [UploadState(state)] if state else []
    with refusals():
        found = asyncio.run(_list(settings, states))
    if as_json:
        click.echo(document({"uploads": [_record(upload) for upload in found]}))
    elif found:
        click.echo(table(_COLUMNS, [_row(upload, time.time()) for upload in found]))
    else:
        click.echo("no uploads", err=True)


@uploads.command(params=setting_options("data_dir"))
@click.argument("upload_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def show(ctx: click.Context, /, upload_id: str, as_json: bool, **_: object) -> None:
    """Show everything known of one upload, and what it takes on disk."""
    settings = settings_with_database(ctx)
    with refusals():
        upload = asyncio.run(_get(settings, upload_id))
    if upload is None:
        raise Refusal(_unknown(upload_id))
    record = _record(upload) | _disk_use(settings, upload)
    if as_json:
        click.echo(document(record))
        return
    width = max(map(len, record))
    for name, value in record.items():
        click.echo(f"{name.ljust(width)}  {printable(_shown(name, value))}")


@uploads.command(params=setting_options("data_dir", "allow_unsafe_data_dir"))
@click.argument("upload_ids", metavar="ID...", nargs=-1, required=True)
@click.pass_context
def rm(ctx: click.Context, /, upload_ids: tuple[str, ...], **_: object) -> None:
    """Remove uploads, finished ones too. Only while no server uses the data directory."""
    settings = settings_with_database(ctx)
    with refusals():
        try:
            unknown = asyncio.run(_remove(settings, upload_ids))
        except DataDirBusy as error:
            raise Refusal(f"{error}; while it runs, remove an upload by sending DELETE to its URL") from error
    if unknown:
        raise Refusal("; ".join(map(_unknown, unknown)))


async def _list(settings: Settings, states: Sequence[UploadState]) -> list[UploadInfo]:
    found: list[UploadInfo] = []
    async with looking(settings) as store:
        while batch := await store.list_uploads(after=found[-1].id if found else "", limit=_BATCH, states=states):
            found += batch
    return sorted(found, key=lambda upload: (upload.created_at, upload.id))


async def _get(settings: Settings, upload_id: str) -> UploadInfo | None:
    async with looking(settings) as store:
        return await store.get(upload_id)


async def _remove(settings: Settings, upload_ids: Sequence[str]) -> list[str]:
    """Remove uploads; return those that are unknown. Killed half-way, the next server finishes what was begun."""
    durable = settings.durability.syncs_finish
    unknown = []
    async with AsyncExitStack() as stack:
        place = stack.enter_context(open_data_dir(settings.data_dir, allow_unsafe=settings.allow_unsafe_data_dir))
        data = FileDataStore(place.uploads)
        info = SqliteInfoStore(place.database, durability=settings.durability, data_root=place.uploads)
        for store in (data, info):
            await store.open()
            stack.push_async_callback(store.close)
        for upload_id in dict.fromkeys(upload_ids):
            upload = await info.get(upload_id)
            if upload is None:
                unknown.append(upload_id)
                continue
            await info.mark_deleting(upload_id, durable=durable)
            await data.remove(upload.key, durable=durable)
            await info.delete(upload_id)
    return unknown


def _record(upload: UploadInfo) -> dict[str, Any]:
    """Return an upload as JSON and `show` name it: its fields, and what follows from them."""
    values = read_metadata(upload.metadata)
    record: dict[str, Any] = msgspec.to_builtins(upload)
    # Of use to its client only.
    del record["creation_key"], record["creation_digest"]
    return record | {
        "metadata_values": values,
        "filename": values.get("filename"),
        "percent": _percent(upload),
    }


def _row(upload: UploadInfo, now: float) -> tuple[str, ...]:
    percent = _percent(upload)
    return (
        upload.id,
        upload.kind,
        upload.state,
        f"{round_size(upload.offset)} / {'?' if upload.length is None else round_size(upload.length)}",
        "-" if percent is None else f"{int(percent)}",
        _expiry(upload, now),
        printable(read_metadata(upload.metadata).get("filename", "")),
    )


def _percent(upload: UploadInfo) -> float | None:
    """Return how much has arrived; never 100 for an upload that misses a byte."""
    if upload.length is None:
        return None
    return upload.offset * 1000 // upload.length / 10 if upload.length else 100.0


def _expiry(upload: UploadInfo, now: float) -> str:
    if upload.expires_at is None:
        return "never"
    return "expired" if upload.is_expired(now) else f"in {round_span(upload.expires_at - now)}"


def _disk_use(settings: Settings, upload: UploadInfo) -> dict[str, Any]:
    path: Path = FileDataStore(uploads_in(settings.data_dir)).locate(upload)
    try:
        disk_bytes = path.lstat().st_blocks * _BLOCK
    except (FileNotFoundError, NotADirectoryError):
        return {"data_path": str(path), "disk_bytes": None}
    return {"data_path": str(path), "disk_bytes": disk_bytes}


def _shown(name: str, value: object) -> str:
    if value in (None, "", (), {}):
        return "-"
    if name.endswith("_at") and isinstance(value, float):
        return date(value)
    if isinstance(value, tuple | dict):
        return msgspec.json.encode(value).decode()
    return str(value)


def _unknown(upload_id: str) -> str:
    return f"there is no upload {printable(upload_id)}"
