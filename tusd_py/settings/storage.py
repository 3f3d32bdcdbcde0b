"""What can be set of the data directory: what survives, and in which way bodies get there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tusd_py.models.limits import Durability
from tusd_py.settings import kinds
from tusd_py.settings.doc import Doc, Group
from tusd_py.settings.processing import ProcessingSettings


class StorageSettings(ProcessingSettings, frozen=True, kw_only=True):
    """The part of `Settings` that is about the data directory; a record can build on one other only.

    Raises:
        SettingsError: a value cannot be used.
    """

    data_dir: Annotated[
        Path,
        Doc(
            Group.STORAGE,
            kinds.PATH,
            "Directory of the data and the database.",
            "Made with mode 0700. `uploads.sqlite3` says what is known, `uploads/<2 chars>/<id>` has the bytes.",
        ),
    ] = Path("data")
    allow_unsafe_data_dir: Annotated[
        bool,
        Doc(
            Group.STORAGE,
            kinds.SWITCH,
            "Use a data directory that others own or may write to.",
            "Off: whoever can write there can replace uploads. Some container platforms need it.",
        ),
    ] = False
    durability: Annotated[
        Durability,
        Doc(
            Group.STORAGE,
            kinds.choice(Durability),
            "What survives a power cut: nothing, finished uploads, every offset.",
            "`patch`, so that an offset a client has seen is never taken back. A killed process loses "
            "nothing at any level.",
        ),
    ] = Durability.PATCH
    checkpoint_bytes: Annotated[
        int,
        Doc(
            Group.STORAGE,
            kinds.size(),
            "Store the offset inside a long PATCH at least every so many bytes.",
            "Bounds what one broken 10 GB request loses; smaller costs more syncs.",
        ),
    ] = 16 * 1024**2
    checkpoint_interval: Annotated[
        float,
        Doc(
            Group.STORAGE,
            kinds.duration(),
            "Store the offset inside a long PATCH at least so often.",
            "The same bound for slow clients.",
        ),
    ] = 2.0

    journal_up_to: Annotated[
        int | None,
        Doc(
            Group.STORAGE,
            kinds.optional(kinds.size(high=1024**2)),
            "Keep bodies of at most so many bytes in the database until their file is synced.",
            "One sync for bytes and offset, not two or three; the bytes are written twice. `none` syncs each file.",
        ),
    ] = 64 * 1024
    journal_size: Annotated[
        int,
        Doc(
            Group.STORAGE,
            kinds.size(),
            "Sync the files of such bodies when there are so many bytes of them.",
            "Seldom enough to be cheap, with little to write again at a start. From four times as much on each file is "
            "synced: the disk does not keep up.",
        ),
    ] = 16 * 1024**2
    data_plane_from: Annotated[
        int | None,
        Doc(
            Group.STORAGE,
            kinds.optional(kinds.size()),
            "Let the kernel move bodies with so many bytes to come.",
            "Where handing over a connection costs less than it saves. `none` reads every body in Python.",
        ),
    ] = 768 * 1024
    direct_from: Annotated[
        int | None,
        Doc(
            Group.STORAGE,
            kinds.optional(kinds.size()),
            "Read bodies with so many bytes to come past the HTTP parser.",
            "Where exchanging a connection's reader costs less than copies. `none` parses every body.",
        ),
    ] = 96 * 1024
