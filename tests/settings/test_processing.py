"""Settings of hooks and jobs: lists, the secret and where it may be, and the tables."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tusd_py.models.condition import Condition
from tusd_py.models.hook import Moment
from tusd_py.settings import HookSettings, JobSettings, Settings, SettingsError, load
from tusd_py.settings.kinds import MASK

SECRET = "correct horse battery"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"hooks_enabled_events": "pre-creat"}, "'pre-creat' is no event of a hook; did you mean pre-create?"),
        ({"hooks_http": "ftp://a.example"}, "'ftp://a.example' is not an absolute http:// or https:// URL"),
        ({"hooks_http_retry": 101}, "101 is too large; it must be at most 100"),
        ({"hooks_http_forward_headers": "X Y"}, "'X Y' is not the name of a header"),
        ({"hooks_env": "A=B"}, "'A=B' is not the name of an environment variable"),
        ({"hooks_env": "TUSD_PY_HOOKS_SECRET"}, "'TUSD_PY_HOOKS_SECRET' is a setting of this server"),
        ({"hooks_format": "native"}, "'native' is none of tusd-v2, tusd-v1"),
        ({"job_concurrency": 0}, "0 is too small; it must be at least 1"),
        ({"job_concurrency": 1001}, "1001 is too large; it must be at most 1000"),
        ({"hooks": "x"}, "'x' is not a table; write [hooks.NAME]"),
        ({"jobs": 5}, "5 is not a table; write [jobs.NAME]"),
    ],
)
def test_value_that_cannot_be_used_is_refused(given: dict[str, Any], problem: str) -> None:
    """The message names the setting and the value."""
    with pytest.raises(SettingsError) as caught:
        Settings.make(**given)
    assert str(caught.value).startswith(f"{next(iter(given))}: {problem}")


def test_lists_may_have_spaces() -> None:
    """Names are separated by commas, with or without spaces; headers have no case."""
    settings = Settings.make(
        hooks_enabled_events="pre-finish, post-finish",
        hooks_http_forward_headers="Authorization, X-A",
        hooks_env="A, B",
    )
    assert ((Moment.PRE_FINISH, Moment.POST_FINISH), ("authorization", "x-a"), ("A", "B")) == (
        settings.hooks_enabled_events,
        settings.hooks_http_forward_headers,
        settings.hooks_env,
    )


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (SECRET, SECRET),
        (f"{SECRET}\n", SECRET),
        (f"{SECRET}\r\n", SECRET),
        (f" {SECRET}\n\n", f" {SECRET}\n"),
    ],
)
def test_secret_is_read_from_a_file(tmp_path: Path, text: str, secret: str) -> None:
    """The secret is the text of the file without the newline at its end, and copies have it too."""
    path = tmp_path / "secret"
    path.write_bytes(text.encode())
    settings = load(environ={"TUSD_PY_HOOKS_SECRET_FILE": str(path)}).settings
    assert secret == settings.hooks_secret
    assert settings == Settings.make(**msgspec.structs.asdict(settings))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "{path} cannot be read: No such file or directory"),
        (b"", "{path} is empty"),
        (b"\n", "{path} is empty"),
        (b"hush\n", "{path} has 4 characters, and a secret at least 16"),
        (b"\xff" * 16, "{path} is not a text in UTF-8"),
    ],
)
def test_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """Row 58: the message says which file is wrong, and nothing of what is in it."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(environ={"TUSD_PY_HOOKS_SECRET_FILE": str(path)})
    assert f"TUSD_PY_HOOKS_SECRET_FILE: {problem.format(path=path)}" == str(caught.value)


def test_two_secrets_are_refused(tmp_path: Path) -> None:
    """Nobody has to guess which of two counts."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    with pytest.raises(SettingsError) as caught:
        load(environ={"TUSD_PY_HOOKS_SECRET": "another long secret"}, flags={"hooks_secret_file": str(path)})
    assert f"TUSD_PY_HOOKS_SECRET: there is a hooks_secret_file as well ({path}); set one of them" == str(caught.value)


@pytest.mark.parametrize("secret", ["hush hush hush", MASK, 1234567890123456])
def test_bad_secret_is_not_told(secret: object) -> None:
    """Row 58: no message has a secret, not even one that is refused."""
    with pytest.raises(SettingsError, match=r"^hooks_secret: ") as caught:
        Settings.make(hooks_secret=secret)
    assert "hush" not in str(caught.value)
    assert "1234" not in str(caught.value)


def test_settings_as_text_hide_secrets() -> None:
    """Row 58: whoever prints or logs settings tells no secret."""
    settings = Settings.make(
        hooks_secret=SECRET, hooks_http="http://me:horse@a.example", hooks={"a": {"url": "http://me:horse@b.example"}}
    )
    for text in (repr(settings), str(settings), str(settings.__rich_repr__()), repr(settings.hooks)):
        assert "horse" not in text
        assert f"{MASK}@b.example" in text
    assert "hooks_secret='********'" in repr(settings)
    assert "hooks_secret=None" in repr(Settings())


def test_tables_of_a_file_are_read(tmp_path: Path) -> None:
    """Every key of both kinds, with the units that settings have everywhere."""
    path = tmp_path / "t.toml"
    path.write_text(
        """
        [hooks.bouncer]
        url = "https://hooks.example/x"
        events = ["pre-create", "pre-finish, post-finish"]
        timeout = 2
        public_only = true
        when = { partial = true }

        [jobs.thumbs]
        command = ["convert", "a b"]
        on = "post-terminate"
        priority = -5
        retries = 0
        timeout = "15m"
        concurrency = 2
        [jobs.thumbs.when]
        metadata = { filetype = "image/*" }
        min_size = 0
        max_size = "2GiB"

        [jobs.plain]
        command = ["true"]
        """
    )
    settings = load(environ={}, config=path).settings
    assert (
        HookSettings(
            name="bouncer",
            url="https://hooks.example/x",
            events=(Moment.PRE_CREATE, Moment.PRE_FINISH, Moment.POST_FINISH),
            timeout=2.0,
            public_only=True,
            when=Condition(partial=True),
        ),
    ) == settings.hooks
    assert (
        JobSettings(
            name="thumbs",
            command=("convert", "a b"),
            on=Moment.POST_TERMINATE,
            priority=-5,
            retries=0,
            timeout=900.0,
            concurrency=2,
            when=Condition(metadata={"filetype": "image/*"}, min_size=0, max_size=2 * 2**30),
        ),
        JobSettings(name="plain", command=("true",)),
    ) == settings.jobs


def test_defaults_of_tables() -> None:
    """What is not said is as the pages say."""
    job = msgspec.structs.asdict(JobSettings(name="a", url="http://a"))
    hook = msgspec.structs.asdict(HookSettings(name="a", url="http://a"))
    both = {"name": "a", "command": None, "url": "http://a", "public_only": False, "when": Condition()}
    assert both | {"events": None, "timeout": None} == hook
    assert both | {"on": "post-finish", "priority": 0, "retries": 50, "timeout": 3600.0, "concurrency": None} == job


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"comand": ["x"]}, "[jobs.a] comand: there is no such key; did you mean command?"),
        ({"name": "b"}, "[jobs.a] name: there is no such key"),
        ({"a\nb": 1}, r"[jobs.a] 'a\nb': there is no such key"),
        ({}, "[jobs.a] command: is missing; set command or url"),
        ({"command": ["x"], "url": "http://a"}, "[jobs.a] url: contradicts command; set one of them"),
        ({"command": []}, "[jobs.a] command: [] names no program"),
        ({"command": "convert x"}, "[jobs.a] command: 'convert x' is not a list; write the program and each argument"),
        ({"command": ["x"], "public_only": True}, "[jobs.a] public_only: true is about the addresses of a url"),
        ({"url": "x"}, "[jobs.a] url: 'x' is not an absolute http:// or https:// URL"),
        ({"url": "http://a", "on": "pre-create"}, "[jobs.a] on: 'pre-create' is none of post-finish, post-terminate"),
        ({"url": "http://a", "retries": -1}, "[jobs.a] retries: -1 is too small; it must be at least 0"),
        ({"url": "http://a", "concurrency": 0}, "[jobs.a] concurrency: 0 is too small; it must be at least 1"),
        ({"url": "http://a", "timeout": "soon"}, "[jobs.a] timeout: 'soon' is not a duration"),
        ({"url": "http://a", "priority": "high"}, "[jobs.a] priority: 'high' is not a whole number"),
        ({"url": "http://a", "when": 1}, "[jobs.a] when: 1 is not a table"),
        ({"url": "http://a", "when": {"min": 1}}, "[jobs.a] when: there is no such key as 'min'"),
        ({"url": "http://a", "when": {"min_size": "x"}}, "[jobs.a] when: min_size: 'x' is not a size"),
        ({"url": "http://a", "when": {"metadata": 1}}, "[jobs.a] when: metadata: 1 is not a table"),
        ({"url": "http://a", "when": {"metadata": {"a": 1}}}, "[jobs.a] when: metadata: 'a' = 1 is not a text"),
        ({"url": "http://a", "when": {"partial": "x"}}, "[jobs.a] when: partial: 'x' is neither true nor false"),
        ({"url": "http://a", "when": {"min_size": 2, "max_size": 1}}, "[jobs.a] when: max_size: 1 is less than min"),
        (5, "jobs: 'a' = 5 is not a table; write [jobs.NAME]"),
    ],
)  # fmt: skip
def test_table_that_cannot_be_used_is_refused(table: object, message: str) -> None:
    """The message names table and key."""
    with pytest.raises(SettingsError) as caught:
        Settings.make(jobs={"a": table})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a:b", "é", "a" * 65, "a\n"])
def test_name_of_table_is_plain(name: str) -> None:
    """Names go into logs, commands and the database as they are."""
    with pytest.raises(SettingsError, match=r"^hooks: '.*' is not a (name of up to 64 letters|text)"):
        Settings.make(hooks={name: {"url": "http://a"}})


def test_event_of_a_table_is_checked() -> None:
    """A misspelt event would never happen."""
    with pytest.raises(SettingsError, match=r"^\[hooks.a\] events: 'post-finnish' is no event of a hook; did you mean"):
        Settings.make(hooks={"a": {"url": "http://a", "events": ["post-finnish"]}})


def test_conditions_made_in_python_are_checked() -> None:
    """A `Condition` takes anything; the settings do not."""
    bad: Any = "x"
    with pytest.raises(SettingsError, match=r"^\[jobs.a\] when: max_size: 'x' is not a size"):
        JobSettings(name="a", url="http://a", when=Condition(max_size=bad))


def test_tables_made_in_python_have_names_of_their_own() -> None:
    """Two of one name would hide each other."""
    job = JobSettings(name="a", url="http://a")
    assert (job,) == Settings(jobs=(job,)).jobs
    with pytest.raises(SettingsError, match=r"^jobs: 'a' is there twice"):
        Settings(jobs=(job, job))
