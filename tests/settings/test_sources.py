"""Where values come from: precedence, origins, and messages that name the place."""

from pathlib import Path

import pytest

from tusd_py.settings import Settings, SettingsError, load, rendering


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """Each source hides the one below it, and the origin says which one won."""
    config = _write(tmp_path / "t.toml", "port = 1\nmax_parts = 1\nhost = 'file'\n")
    loaded = load(
        flags={"port": "3"}, environ={"TUSD_PY_PORT": "2", "TUSD_PY_MAX_PARTS": "2", "OTHER": "x"}, config=config
    )
    settings = loaded.settings
    assert (3, 2, "file", "/files/") == (settings.port, settings.max_parts, settings.host, settings.base_path)
    assert ("--port", "TUSD_PY_MAX_PARTS", f"host in {config}", "default") == tuple(
        loaded.origins[name] for name in ("port", "max_parts", "host", "base_path")
    )


def test_environment_alone_makes_settings(tmp_path: Path) -> None:
    """Embedders need no command line: lists are separated by commas, a file may be named."""
    config = _write(tmp_path / "t.toml", 'max_size = "1k"\ndisable_extension = ["checksum"]\n')
    settings = Settings.from_env(
        {"TUSD_PY_CONFIG": str(config), "TUSD_PY_TRUSTED_PROXY": "10.0.0.1, ::1", "TUSD_PY_BEHIND_PROXY": "1"}
    )
    assert (1000, ("checksum",), ("10.0.0.1/32", "::1/128"), True) == (
        settings.max_size,
        settings.disable_extension,
        settings.trusted_proxy,
        settings.behind_proxy,
    )


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Settings.from_env()` reads the variables of the process."""
    monkeypatch.setenv("TUSD_PY_PORT", "81")
    assert Settings.from_env().port == 81


def test_variables_of_hooks_are_no_settings() -> None:
    """A program that is run as a hook may run `tusd-py`."""
    assert Settings.from_env({"TUSD_PY_IDEMPOTENCY_KEY": "a:b", "TUSD_PY_ATTEMPT": "1"}) == Settings()


@pytest.mark.parametrize("name", ["hooks", "jobs"])
def test_tables_are_in_the_file_only(name: str) -> None:
    """A set of tables does not fit into a variable."""
    variable = f"TUSD_PY_{name.upper()}"
    with pytest.raises(SettingsError, match=rf"^{variable}: there is no such setting"):
        load(environ={variable: "x"})


def test_empty_variable_counts_as_not_set() -> None:
    """Templates of compose files leave empty variables behind."""
    assert Settings.from_env({"TUSD_PY_MAX_SIZE": ""}) == Settings()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TUSD_PY_MAX_SISE": "1"}, "TUSD_PY_MAX_SISE: there is no such setting; did you mean TUSD_PY_MAX_SIZE?"),
        ({"TUSD_PY_QQQ": ""}, "TUSD_PY_QQQ: there is no such setting"),
        ({"TUSD_PY_BEHIND_PROXY": "yes"}, "TUSD_PY_BEHIND_PROXY: 'yes' is neither true nor false (1 and 0 will do)"),
        (
            {"TUSD_PY_MAX_SIZE": "lots"},
            "TUSD_PY_MAX_SIZE: 'lots' is not a size; write bytes, or a number with a unit like 500MB or 10GiB",
        ),
    ],
)
def test_bad_variable_is_named(environ: dict[str, str], message: str) -> None:
    """The sentence begins with the variable that has to be changed."""
    with pytest.raises(SettingsError) as caught:
        load(environ=environ)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max-size = 1", "'max-size' in {path}: there is no such setting; did you mean max_size?"),
        ("[listen]\nport = 1", "'listen' in {path}: there is no such setting"),
        ("port = 'x'", "port in {path}: 'x' is not a whole number"),
        ("cors_allow_credentials = true", "cors_allow_credentials in {path}: true would let any page"),
        ("port =", "--config: {path} is not a TOML file: "),
        ("[jobs.a]\ncommand = 'x'", "[jobs.a] command in {path}: 'x' is not a list"),
        ("[jobs]\na = 1", "jobs in {path}: 'a' = 1 is not a table; write [jobs.NAME]"),
    ],
)
def test_bad_key_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    """The sentence says which key of which file has to be changed."""
    path = _write(tmp_path / "t.toml", text)
    with pytest.raises(SettingsError) as caught:
        load(environ={}, config=path)
    assert str(caught.value).startswith(message.format(path=path))


def test_missing_file_is_an_error_that_says_who_named_it(tmp_path: Path) -> None:
    """A file that was asked for must be there."""
    with pytest.raises(SettingsError, match=r"^TUSD_PY_CONFIG: .*t\.toml cannot be read: No such file or directory$"):
        load(environ={"TUSD_PY_CONFIG": str(tmp_path / "t.toml")})


def test_file_without_utf8_is_refused(tmp_path: Path) -> None:
    """TOML is UTF-8."""
    path = tmp_path / "t.toml"
    path.write_bytes(b"host = '\xff'")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        load(environ={}, config=path)


def test_printed_settings_make_the_same_settings(tmp_path: Path) -> None:
    """What `tusd-py config` prints is a file for `--config`."""
    given = {
        "TUSD_PY_MAX_SIZE": "10GiB",
        "TUSD_PY_UNIX_SOCKET": '/run/a "b"\\c.sock',
        "TUSD_PY_EXPIRE_AFTER": "0",
        "TUSD_PY_CORS_ALLOW_ORIGIN": "https://a.example,null",
        "TUSD_PY_DISABLE_DOWNLOAD": "true",
        "TUSD_PY_LOCK_TIMEOUT": "1.5",
        "TUSD_PY_HOOKS_ENABLED_EVENTS": "pre-finish, post-finish",
        "TUSD_PY_HOOKS_HTTP": "https://a.example/x?y=1,http://b.example",
    }
    loaded = load(environ=given)
    again = load(environ={}, config=_write(tmp_path / "t.toml", rendering.toml(loaded)))
    assert loaded.settings == again.settings
