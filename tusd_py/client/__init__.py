"""The uploader: files and pipes to any tus server and back, resumed after whatever happened.

Everything that is public is named here. What may live here knows the wire language (`protocol`), errors and models, and
aiohttp's client; nothing of the server.
"""

from tusd_py.client.client import Client, upload
from tusd_py.client.download import download
from tusd_py.client.errors import (
    CannotResume,
    DestinationUnusable,
    GaveUp,
    NotATusServer,
    NotVerified,
    Refused,
    SourceBusy,
    SourceChanged,
    SourceUnusable,
    StoreUnusable,
    TransferFailed,
    Untrusted,
)
from tusd_py.client.records import (
    Checking,
    Created,
    Downloaded,
    Event,
    Finished,
    Options,
    Progress,
    Restarted,
    Resumed,
    Retrying,
    Uploaded,
    Warned,
)
from tusd_py.client.source import FileSource, PipeSource
from tusd_py.client.uploader import Uploader
from tusd_py.client.urlstore import UrlStore

__all__ = [
    "CannotResume",
    "Checking",
    "Client",
    "Created",
    "DestinationUnusable",
    "Downloaded",
    "Event",
    "FileSource",
    "Finished",
    "GaveUp",
    "NotATusServer",
    "NotVerified",
    "Options",
    "PipeSource",
    "Progress",
    "Refused",
    "Restarted",
    "Resumed",
    "Retrying",
    "SourceBusy",
    "SourceChanged",
    "SourceUnusable",
    "StoreUnusable",
    "TransferFailed",
    "Untrusted",
    "Uploaded",
    "Uploader",
    "UrlStore",
    "Warned",
    "download",
    "upload",
]
