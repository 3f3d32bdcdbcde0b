"""What can be said of an upload before a byte of it is read or sent: whether it can be done at all."""

from __future__ import annotations

from tusd_py.client.errors import Refused
from tusd_py.client.records import Options
from tusd_py.client.source import FileSource, PipeSource
from tusd_py.errors import InvalidMetadata
from tusd_py.protocol.tus1_client import Offer, create_head

MOST_PARTS = 64
"""More connections make nothing faster."""


def checked(options: Options) -> Options:
    """Return options that can be. Raises `ValueError`."""
    if not 1 <= options.parallel <= MOST_PARTS:
        raise ValueError(f"parallel is {options.parallel}, and must be between 1 and {MOST_PARTS}")
    for name in ("chunk_size", "limit_rate", "retry_for", "network_timeout"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}, and must be above 0")
    try:
        create_head(length=0, metadata=options.metadata)
    except InvalidMetadata as error:
        raise ValueError(error.message) from error
    return options


def check_offer(source: FileSource | PipeSource, offer: Offer) -> None:
    """Raise `Refused` for what the server says it does not take, before anything is read or sent."""
    if source.size is None:
        if not offer.offers("creation-defer-length"):
            raise Refused(
                "the server takes nothing whose size is not known beforehand (creation-defer-length); "
                "write what comes from the pipe to a file first",
                status=501,
            )
    elif offer.max_size is not None and source.size > offer.max_size:
        raise Refused(f"the file has {source.size} bytes, and the server takes at most {offer.max_size}", status=413)
