"""The one declaration of every setting. Flags, environment names, TOML keys and the reference page come from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec

from tusd_py.models.limits import EXTENSIONS, Limits
from tusd_py.settings import addresses, checks, kinds
from tusd_py.settings.checked import values_of
from tusd_py.settings.choices import EventLoop, LogFormat
from tusd_py.settings.doc import Declared, Doc, Group, SettingsError, suggest
from tusd_py.settings.storage import StorageSettings


class Settings(StorageSettings, frozen=True, kw_only=True):
    """Everything that can be set, checked: a `Settings` that the server cannot use does not exist.

    The fields hold bytes, seconds, paths and plain texts; texts like "10GiB" and "15m" are taken too (`make`).

    Raises:
        SettingsError: a value cannot be used.
    """

    host: Annotated[
        str,
        Doc(
            Group.LISTENING,
            kinds.text("ADDRESS"),
            "Address or host name to listen on.",
            "Reachable from this machine only, until you decide otherwise (`0.0.0.0` = every IPv4 interface).",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Doc(Group.LISTENING, kinds.whole("PORT", 0, 65535), "TCP port to listen on; 0 picks a free one."),
    ] = 8080
    unix_socket: Annotated[
        Path | None,
        Doc(
            Group.LISTENING,
            kinds.optional(kinds.PATH),
            "Listen on this Unix socket instead of host and port.",
            "The fastest and most private way to stand behind a proxy on the same machine.",
        ),
    ] = None
    base_path: Annotated[
        str,
        Doc(
            Group.LISTENING,
            kinds.text("/PATH/", addresses.check_base_path),
            "URL path under which uploads are made.",
            "Works with and without the slash at its end. An absolute URL sets `public_url` as well.",
        ),
    ] = "/files/"
    public_url: Annotated[
        str | None,
        Doc(
            Group.PROXIES,
            kinds.optional(kinds.text("URL", addresses.check_url)),
            "URL of the base path as clients see it.",
            "Location always begins with it. Given without a path (`https://a.example`), `base_path` is added.",
        ),
    ] = None
    behind_proxy: Annotated[
        bool,
        Doc(
            Group.PROXIES,
            kinds.SWITCH,
            "Believe Forwarded and X-Forwarded-* of trusted proxies.",
            "Off by default: anybody can send these headers to a server that faces the network.",
        ),
    ] = False
    trusted_proxy: Annotated[
        tuple[str, ...],
        Doc(
            Group.PROXIES,
            kinds.many("CIDR", addresses.check_network),
            "Networks whose forwarded headers are believed.",
            "Counts only with `behind_proxy`, and only for the direct peer. Peers on a Unix socket are always trusted.",
        ),
    ] = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    relative_location: Annotated[
        bool,
        Doc(
            Group.PROXIES,
            kinds.SWITCH,
            "Answer with Location as a path, without scheme and host.",
            "Right behind every proxy that keeps paths; some clients want an absolute URL, hence off.",
        ),
    ] = False

    max_size: Annotated[
        int | None,
        Doc(
            Group.LIMITS,
            kinds.optional(kinds.size()),
            "Largest upload.",
            "No limit by default; the disk is one, and a full disk is answered with 507.",
        ),
    ] = None
    max_open_uploads: Annotated[
        int | None,
        Doc(Group.LIMITS, kinds.optional(kinds.whole("NUMBER", 1)), "Most unfinished uploads at a time; beyond: 429."),
    ] = None
    max_open_size: Annotated[
        int | None,
        Doc(Group.LIMITS, kinds.optional(kinds.size()), "Most bytes announced by unfinished uploads; beyond: 507."),
    ] = None
    max_metadata_size: Annotated[
        int,
        Doc(Group.LIMITS, kinds.size(), "Longest Upload-Metadata header.", "Far above what clients send."),
    ] = 64 * 1024
    max_upload_rate: Annotated[
        int | None,
        Doc(Group.LIMITS, kinds.optional(kinds.size()), "Most bytes a second taken from one request's body."),
    ] = None
    max_parts: Annotated[
        int,
        Doc(
            Group.LIMITS,
            kinds.whole("NUMBER", 1),
            "Most partial uploads in one final upload.",
            "Clients that upload in parallel use 2 to 10.",
        ),
    ] = 1000
    expire_after: Annotated[
        float | None,
        Doc(
            Group.LIMITS,
            kinds.optional(kinds.duration(), off=("0", "none", "0s", "0.0")),
            "Remove unfinished uploads that got no byte for so long; 0 = never.",
            "A week lets people resume after a weekend. Finished uploads never expire. 0 turns the extension off.",
        ),
    ] = 7 * 86400.0
    sweep_interval: Annotated[
        float,
        Doc(
            Group.LIMITS,
            kinds.duration(),
            "How often expired uploads are looked for.",
            "An expired upload is refused at once; this is only when its space comes back.",
        ),
    ] = 60.0

    strict_metadata: Annotated[
        bool,
        Doc(
            Group.PROTOCOL,
            kinds.SWITCH,
            "Refuse malformed or duplicate metadata instead of ignoring it.",
            "Off, because clients in the field send such headers and nothing is at stake.",
        ),
    ] = False
    disable_download: Annotated[
        bool,
        Doc(Group.PROTOCOL, kinds.SWITCH, "Do not serve finished uploads by GET."),
    ] = False
    disable_termination: Annotated[
        bool,
        Doc(Group.PROTOCOL, kinds.SWITCH, "Do not let clients remove uploads by DELETE."),
    ] = False
    disable_concatenation: Annotated[
        bool,
        Doc(Group.PROTOCOL, kinds.SWITCH, "Do not let clients join partial uploads."),
    ] = False
    disable_extension: Annotated[
        tuple[str, ...],
        Doc(
            Group.PROTOCOL,
            kinds.many("NAME", checks.check_extension),
            "Switch a tus extension off.",
            f"One of {', '.join(f'`{name}`' for name in EXTENSIONS)}. Without `creation`, what builds on it goes too.",
        ),
    ] = ()
    disable_method_override: Annotated[
        bool,
        Doc(
            Group.PROTOCOL,
            kinds.SWITCH,
            "Ignore X-HTTP-Method-Override.",
            "Honoured by default, as tus asks for: some clients and networks know no PATCH.",
        ),
    ] = False

    cors_allow_origin: Annotated[
        tuple[str, ...],
        Doc(
            Group.BROWSERS,
            kinds.many("ORIGIN", addresses.check_origin, everything=addresses.ANY_ORIGIN),
            "Origins whose pages may upload; * = any.",
            "Exact origins, `null`, or patterns like `https://*.example.com` where `*` is one or more characters "
            "other than `/`. Any by default: without credentials a page can do no more than a program. "
            "In Python, empty = any.",
        ),
    ] = ()
    cors_allow_credentials: Annotated[
        bool,
        Doc(
            Group.BROWSERS,
            kinds.SWITCH,
            "Let pages send cookies and HTTP authentication.",
            "Refused together with origins that anybody can have.",
        ),
    ] = False
    cors_max_age: Annotated[
        float,
        Doc(
            Group.BROWSERS,
            kinds.duration(positive=False),
            "How long browsers may remember a preflight.",
            "A day is the most that any browser honours.",
        ),
    ] = 86400.0
    disable_cors: Annotated[
        bool,
        Doc(Group.BROWSERS, kinds.SWITCH, "Send no CORS headers at all; a proxy or the host application does."),
    ] = False

    network_timeout: Annotated[
        float,
        Doc(
            Group.TIMES,
            kinds.duration(),
            "End a body when no byte came for so long; what came is kept.",
            "Long enough for a phone between two cells, short enough not to hold a lock for the dead.",
        ),
    ] = 60.0
    lock_timeout: Annotated[
        float,
        Doc(
            Group.TIMES,
            kinds.duration(positive=False),
            "Wait so long for an upload in use, then answer 423.",
            "The request in use is asked to stop first, which takes milliseconds.",
        ),
    ] = 5.0
    keep_alive_timeout: Annotated[
        float,
        Doc(
            Group.TIMES,
            kinds.duration(),
            "Close a connection that sent no complete request for so long.",
            "Above the 60s for which nginx keeps connections, or clients see 502; 15s without a proxy.",
        ),
    ] = 75.0
    shutdown_timeout: Annotated[
        float,
        Doc(
            Group.TIMES,
            kinds.duration(positive=False),
            "Give running requests so long after SIGTERM or SIGINT.",
            "Bodies are cut short at once and resume elsewhere; a second signal ends it immediately.",
        ),
    ] = 30.0

    event_loop: Annotated[
        EventLoop,
        Doc(
            Group.PROCESS,
            kinds.choice(EventLoop),
            "What runs the server.",
            "uvloop may take a little less time for small requests, and has to be installed: `tusd-py[speed]`.",
        ),
    ] = EventLoop.ASYNCIO

    log_format: Annotated[
        LogFormat,
        Doc(
            Group.PROCESS,
            kinds.choice(LogFormat),
            "How log lines on stderr are written.",
            "One line per record in both.",
        ),
    ] = LogFormat.TEXT

    def __post_init__(self) -> None:
        super().__post_init__()
        base_path, public_url = checks.settle_urls(self.base_path, self.public_url)
        msgspec.structs.force_setattr(self, "base_path", base_path)
        msgspec.structs.force_setattr(self, "public_url", public_url)
        checks.check_location(public_url, relative=self.relative_location)
        checks.check_credentials(self.cors_allow_origin, allowed=self.cors_allow_credentials)

    @classmethod
    def make(cls, **overrides: Any) -> Self:
        """Return the defaults with some values changed; sizes and durations may be texts ("10GiB", "15m").

        Raises:
            SettingsError: there is no such setting, or a value cannot be used.
        """
        for name in overrides:
            if name not in cls.__struct_fields__:
                raise SettingsError(name, f"there is no such setting{suggest(name, cls.__struct_fields__)}")
        return cls(**overrides)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings that `TUSD_PY_*` variables and the file named by `TUSD_PY_CONFIG` make.

        Raises:
            SettingsError: a variable or a key is unknown, or a value cannot be used.
        """
        from tusd_py.settings import loading  # noqa: PLC0415 - it needs this module complete

        return loading.load(environ=environ).settings

    def limits(self) -> Limits:
        """Return the rules of the protocol that these settings make."""
        off = {*self.disable_extension}
        off |= {"termination"} if self.disable_termination else set()
        off |= {"concatenation"} if self.disable_concatenation else set()
        off |= {"expiration"} if self.expire_after is None else set()
        extensions = checks.extensions_without(off)
        return Limits(
            max_size=self.max_size,
            max_open_uploads=self.max_open_uploads,
            max_open_size=self.max_open_size,
            max_metadata_size=self.max_metadata_size,
            max_parts=self.max_parts,
            expire_after=self.expire_after if "expiration" in extensions else None,
            extensions=extensions,
            strict_metadata=self.strict_metadata,
            download=not self.disable_download,
            method_override=not self.disable_method_override,
        )


def declared() -> tuple[Declared, ...]:
    """Return every setting that is one value, group by group, each group in the order of its declaration."""
    return values_of(Settings)
