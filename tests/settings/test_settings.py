"""Settings as an embedder makes them: defaults, checks, and the limits they lead to."""

from pathlib import Path

import msgspec
import pytest

from tusd_py.errors import StartupError
from tusd_py.hooks.payload import PayloadStyle
from tusd_py.models.limits import EXTENSIONS, Durability, Limits
from tusd_py.settings import EventLoop, LogFormat, Settings, SettingsError, declared


def test_defaults() -> None:
    """The defaults are a contract: changing one is a change for users."""
    expected = {
        "host": "127.0.0.1",
        "port": 8080,
        "unix_socket": None,
        "base_path": "/files/",
        "public_url": None,
        "behind_proxy": False,
        "trusted_proxy": ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        "relative_location": False,
        "data_dir": Path("data"),
        "allow_unsafe_data_dir": False,
        "durability": Durability.PATCH,
        "checkpoint_bytes": 16 * 2**20,
        "checkpoint_interval": 2.0,
        "journal_up_to": 64 * 2**10,
        "journal_size": 16 * 2**20,
        "data_plane_from": 768 * 2**10,
        "direct_from": 96 * 2**10,
        "max_size": None,
        "max_open_uploads": None,
        "max_open_size": None,
        "max_metadata_size": 64 * 2**10,
        "max_upload_rate": None,
        "max_parts": 1000,
        "expire_after": 7 * 86400.0,
        "sweep_interval": 60.0,
        "strict_metadata": False,
        "disable_download": False,
        "disable_termination": False,
        "disable_concatenation": False,
        "disable_extension": (),
        "disable_method_override": False,
        "cors_allow_origin": (),
        "cors_allow_credentials": False,
        "cors_max_age": 86400.0,
        "disable_cors": False,
        "network_timeout": 60.0,
        "lock_timeout": 5.0,
        "keep_alive_timeout": 75.0,
        "shutdown_timeout": 30.0,
        "hooks_dir": None,
        "hooks_http": (),
        "hooks_enabled_events": ("pre-create", "post-create", "post-receive", "post-finish", "post-terminate"),
        "hooks_timeout": 15.0,
        "hooks_format": PayloadStyle.TUSD_V2,
        "hooks_http_retry": 3,
        "hooks_http_backoff": 1.0,
        "hooks_http_forward_headers": (),
        "hooks_secret": None,
        "hooks_secret_file": None,
        "hooks_env": (),
        "progress_hooks_interval": 1.0,
        "hooks": (),
        "job_concurrency": 4,
        "jobs_keep": 7 * 86400.0,
        "jobs": (),
        "event_loop": EventLoop.ASYNCIO,
        "log_format": LogFormat.TEXT,
    }
    assert expected == msgspec.structs.asdict(Settings())


def test_default_limits_are_those_of_the_engine() -> None:
    """An engine without settings and a server without settings allow the same."""
    assert Limits() == Settings().limits()


def test_texts_are_taken_for_python_values() -> None:
    """Embedders may write sizes and durations as people do."""
    settings = Settings.make(max_size="10GiB", lock_timeout="500ms", data_dir="./x", durability="finish")
    assert (10 * 2**30, 0.5, Path("x"), Durability.FINISH) == (
        settings.max_size,
        settings.lock_timeout,
        settings.data_dir,
        settings.durability,
    )


def test_unknown_name_is_refused_with_a_proposal() -> None:
    """A misspelt setting is never ignored."""
    with pytest.raises(SettingsError, match=r"^max_sise: there is no such setting; did you mean max_size\?$"):
        Settings.make(max_sise=1)


def test_bad_value_is_a_startup_error_that_names_the_setting() -> None:
    """An embedder catches one class for everything that keeps a server from starting."""
    with pytest.raises(StartupError, match=r"^port: 70000 is too large; it must be at most 65535$"):
        Settings(port=70000)


def test_changed_copy_is_checked_and_settled() -> None:
    """Settings are their own normal form: a copy with nothing changed is equal."""
    settings = Settings.make(
        base_path="https://buy.art/files",
        cors_allow_origin="https://A.example",
        jobs={"thumbs": {"command": ["convert"], "when": {"min_size": "1MB"}}},
    )
    assert settings == msgspec.structs.replace(settings)
    assert settings == Settings.make(**msgspec.structs.asdict(settings))


@pytest.mark.parametrize(
    ("given", "base_path", "public_url"),
    [
        ({}, "/files/", None),
        ({"base_path": "https://buy.art/files/"}, "/files/", "https://buy.art/files/"),
        ({"base_path": "https://buy.art"}, "/", "https://buy.art/"),
        ({"public_url": "https://buy.art"}, "/files/", "https://buy.art/files/"),
        ({"public_url": "https://buy.art/"}, "/files/", "https://buy.art/"),
        ({"public_url": "https://buy.art/up", "base_path": "/x"}, "/x/", "https://buy.art/up/"),
    ],
)
def test_urls_are_settled(given: dict[str, str], base_path: str, public_url: str | None) -> None:
    """FWD-11: an absolute base path is a public URL as well; a public URL without a path gets the base path."""
    settings = Settings.make(**given)
    assert (base_path, public_url) == (settings.base_path, settings.public_url)


@pytest.mark.parametrize(
    "given",
    [
        {"base_path": "https://a.example/x", "public_url": "https://b.example/x"},
        {"public_url": "https://a.example", "relative_location": True},
    ],
)
def test_contradicting_urls_are_refused(given: dict[str, object]) -> None:
    """Two wishes for Location that cannot both come true are refused."""
    with pytest.raises(SettingsError, match="contradicts public_url"):
        Settings.make(**given)


@pytest.mark.parametrize("origins", [[], ["*"], ["null"], ["https://a.example", "https://*.com"]])
def test_credentials_need_closed_origins(origins: list[str]) -> None:
    """Row 42: credentials for pages of anybody are refused at start."""
    with pytest.raises(SettingsError, match="cors_allow_credentials: true would let any page act for your users"):
        Settings.make(cors_allow_credentials=True, cors_allow_origin=origins)


def test_credentials_with_named_origins_are_fine() -> None:
    """Exact origins and patterns below one domain may have credentials."""
    assert Settings.make(
        cors_allow_credentials=True, cors_allow_origin="https://a.b,https://*.a.b"
    ).cors_allow_credentials


def test_any_origin_is_the_empty_list() -> None:
    """`*` and nothing mean the same."""
    assert Settings.make(cors_allow_origin=["https://a.example", "*"]).cors_allow_origin == ()


@pytest.mark.parametrize(
    ("given", "off"),
    [
        ({"disable_termination": True}, {"termination"}),
        ({"disable_concatenation": True}, {"concatenation"}),
        ({"disable_extension": "checksum,termination"}, {"checksum", "termination"}),
        (
            {"disable_extension": ["creation"]},
            {"creation", "creation-with-upload", "creation-defer-length", "concatenation"},
        ),
        ({"expire_after": 0}, {"expiration"}),
        ({"disable_extension": "expiration"}, {"expiration"}),
    ],
)
def test_extensions_can_be_switched_off(given: dict[str, object], off: set[str]) -> None:
    """What is off is gone from the limits, with what builds on it; without expiration nothing expires."""
    limits = Settings.make(**given).limits()
    assert frozenset(EXTENSIONS) - off == limits.extensions
    assert ("expiration" in off) is (limits.expire_after is None)


def test_unknown_extension_is_refused_with_a_proposal() -> None:
    """A misspelt extension is not silently left on."""
    with pytest.raises(SettingsError, match="'checksums' is no tus extension of this server; did you mean checksum"):
        Settings.make(disable_extension="checksums")


def test_every_setting_is_documented() -> None:
    """Each says what it does in a sentence, and its default can be written and read again."""
    for setting in declared():
        assert setting.doc.help.endswith("."), setting.name
        assert setting.default == setting.doc.kind.accept(setting.show(setting.default)), setting.name
