"""Where a file store keeps the data of a key."""

from __future__ import annotations

from pathlib import Path

from tusd_py.models.upload import UploadInfo
from tusd_py.stores.file import FileDataStore


def located(store: FileDataStore, key: str) -> Path:
    """Return the path of the file of an id, or of a path with a slash in front."""
    named = key.startswith("/")
    return store.locate(UploadInfo(id="some-id" if named else key, path=key[1:] if named else None))
