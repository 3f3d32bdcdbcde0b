"""`tusd-py config`: what is in force, and why."""

import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tusd_py.cli import main
from tusd_py.settings import SettingsError, declared, load


def _run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["config", *args], env=env, catch_exceptions=False)


def test_prints_a_toml_file_with_origins() -> None:
    """Every setting is there, and beside it who set it."""
    result = _run("--port", "0", "--behind-proxy", env={"TUSD_PY_MAX_SIZE": "1GiB"})
    assert 0 == result.exit_code
    settings = tomllib.loads(result.stdout)
    assert {setting.name for setting in declared()} == set(settings)
    assert (0, True, "1GiB") == (settings["port"], settings["behind_proxy"], settings["max_size"])
    lines = result.stdout.splitlines()
    for name, origin in [("port", "--port"), ("max_size", "TUSD_PY_MAX_SIZE"), ("host", "default")]:
        assert any(line.startswith(f"{name} = ") and line.endswith(f" # {origin}") for line in lines)


def test_switch_can_be_taken_back(tmp_path: Path) -> None:
    """A flag can say no to what a file says."""
    path = tmp_path / "t.toml"
    path.write_text("behind_proxy = true\ndisable_cors = true\n")
    settings = tomllib.loads(_run("--config", str(path), "--behind-proxy=false").stdout)
    assert (False, True) == (settings["behind_proxy"], settings["disable_cors"])


def test_list_flags_add_up() -> None:
    """A repeated flag is a list."""
    result = _run("--trusted-proxy", "10.0.0.1", "--trusted-proxy", "10.0.0.2,10.0.0.3")
    assert ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"] == tomllib.loads(result.stdout)["trusted_proxy"]


def test_json_has_values_and_origins() -> None:
    """Machines get numbers, nulls and lists."""
    record = msgspec.json.decode(_run("--json", "--lock-timeout", "500ms").stdout)
    assert {"value": 0.5, "origin": "--lock-timeout"} == record["lock_timeout"]
    assert {"value": None, "origin": "default"} == record["max_size"]
    assert {"value": "data", "origin": "default"} == record["data_dir"]
    assert [] == record["disable_extension"]["value"]


SECRET = "correct horse battery"

TABLES = """
[hooks.bouncer]
url = "https://hooks.example/x?y=1"
events = ["pre-create"]
timeout = "2s"
public_only = true

[jobs.thumbs]
command = ["convert", "a,b", "Say \\"hi\\""]
when = { metadata = { filetype = "image/*", "a.b" = "" }, min_size = "1MB", max_size = "2GiB", partial = true }
priority = -1

[jobs.told]
url = "http://127.0.0.1/"
on = "post-terminate"
retries = 0
timeout = "15m"
concurrency = 1
"""


def test_tables_are_printed_as_they_were_written(tmp_path: Path) -> None:
    """What is printed holds the tables, and makes the same settings again."""
    path, again = tmp_path / "t.toml", tmp_path / "again.toml"
    path.write_text(TABLES)
    again.write_text(_run("--config", str(path)).stdout)
    printed = tomllib.loads(again.read_text())
    assert tomllib.loads(TABLES) == {name: printed[name] for name in ("hooks", "jobs")}
    assert load(environ={}, config=path).settings == load(environ={}, config=again).settings
    assert any(
        line.startswith("[jobs.thumbs] ") and line.endswith(f" # jobs in {path}")
        for line in again.read_text().splitlines()
    )


def test_json_has_tables(tmp_path: Path) -> None:
    """Tables are objects by name, with all keys and in plain units."""
    path = tmp_path / "t.toml"
    path.write_text(TABLES)
    jobs = msgspec.json.decode(_run("--json", "--config", str(path)).stdout)["jobs"]
    assert f"jobs in {path}" == jobs["origin"]
    assert {
        "command": None,
        "url": "http://127.0.0.1/",
        "public_only": False,
        "when": {"metadata": {}, "min_size": None, "max_size": None, "partial": False},
        "on": "post-terminate",
        "priority": 0,
        "retries": 0,
        "timeout": 900.0,
        "concurrency": 1,
    } == jobs["value"]["told"]
    assert 10**6 == jobs["value"]["thumbs"]["when"]["min_size"]


@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize("by_file", [False, True])
def test_secrets_are_hidden(tmp_path: Path, form: str, by_file: bool) -> None:
    """Row 58: a secret is never printed, whatever it comes from and wherever it is."""
    secret, config = tmp_path / "secret", tmp_path / "t.toml"
    secret.write_text(SECRET + "\n")
    config.write_text(
        f'hooks_http = ["https://me:{SECRET[:7]}@a.example/"]\n[jobs.a]\nurl = "https://me:{SECRET[:7]}@b.example/"\n'
    )
    env = {"TUSD_PY_HOOKS_SECRET_FILE": str(secret)} if by_file else {"TUSD_PY_HOOKS_SECRET": SECRET}
    printed = _run("--config", str(config), *(["--json"] if form == "json" else []), env=env).stdout
    assert SECRET[:7] not in printed
    assert 3 == printed.count("********")
    if form == "toml":
        assert 'hooks_secret = "********"'.ljust(48) + f" # {next(iter(env))}, hidden" in printed.splitlines()
    else:
        assert next(iter(env)) == msgspec.json.decode(printed)["hooks_secret"]["origin"]


def test_printed_mask_is_no_secret(tmp_path: Path) -> None:
    """A printed file works where its secret is still in a file or a variable; elsewhere it says what is missing."""
    secret, config = tmp_path / "secret", tmp_path / "t.toml"
    secret.write_text(SECRET)
    config.write_text(_run(env={"TUSD_PY_HOOKS_SECRET_FILE": str(secret)}).stdout)
    assert SECRET == load(environ={}, config=config).settings.hooks_secret
    config.write_text(_run(env={"TUSD_PY_HOOKS_SECRET": SECRET}).stdout)
    assert SECRET == load(environ={"TUSD_PY_HOOKS_SECRET": SECRET}, config=config).settings.hooks_secret
    with pytest.raises(SettingsError, match=r"^hooks_secret in .* is what is shown instead of a secret"):
        load(environ={}, config=config)


def test_reference_needs_no_valid_settings() -> None:
    """The page is about all settings, not about those in force."""
    result = _run("--reference", env={"TUSD_PY_PORT": "x"})
    assert result.stdout.startswith("# Settings\n")
