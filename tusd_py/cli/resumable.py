"""`tusd-py uploads resumable`: what `tusd-py upload` has begun and would go on with."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from tusd_py.cli.options import Refusal
from tusd_py.cli.text import date, document, printable, round_size, table
from tusd_py.client.errors import StoreUnusable
from tusd_py.client.urlstore import Stored, UrlStore

_COLUMNS = ("BEGUN", "SIZE", "FILE NOW", "SERVER", "FILE")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--forget", type=click.Path(path_type=Path), metavar="PATH", help="Begin this file anew the next time.")
def resumable(*, as_json: bool, forget: Path | None) -> None:
    """List the files whose upload from here was begun and has not ended.

    tusd-py upload goes on with them when it is given the same file and URL, as long as the file is the same. What a
    server has of a file that is forgotten stays there until it expires.
    """
    try:
        if forget is not None:
            # By the name it was remembered by, be it there any more or not.
            if not asyncio.run(UrlStore().forget(os.path.realpath(forget))):
                raise Refusal(f"no unfinished upload of {printable(str(forget))} is known")
            return
        found = asyncio.run(UrlStore().list())
    except StoreUnusable as error:
        raise Refusal(printable(error.sentence)) from error
    if as_json:
        click.echo(document({"resumable": [_record(stored) for stored in found]}))
    elif found:
        click.echo(table(_COLUMNS, [_row(stored) for stored in found]))
    else:
        click.echo("no unfinished uploads", err=True)


def _record(stored: Stored) -> dict[str, Any]:
    return {
        "path": os.fsencode(stored.path).decode(errors="backslashreplace"),
        "endpoint": stored.endpoint,
        "size": stored.fingerprint.size,
        "file": _state(stored),
        "urls": stored.urls,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def _row(stored: Stored) -> tuple[str, ...]:
    return (
        date(stored.created_at),
        round_size(stored.fingerprint.size),
        _state(stored),
        printable(stored.endpoint),
        printable(stored.path),
    )


def _state(stored: Stored) -> str:
    """Say whether the file still looks like the one whose upload was begun."""
    then = stored.fingerprint
    try:
        now = os.stat(stored.path)
    except OSError:
        return "gone"
    return "same" if (now.st_size, now.st_mtime_ns, now.st_ino) == (then.size, then.mtime_ns, then.inode) else "changed"
