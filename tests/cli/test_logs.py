"""Log lines: one per record, whatever is in it."""

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest

from tusd_py.cli import logs
from tusd_py.settings import LogFormat

NASTY = "one\ntwo\r\x1b[2J\x00\x9b\u2028\u202e\ud800 %s {} end"


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in logs.LOGGERS]
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(params=list(LogFormat))
def log_format(request: pytest.FixtureRequest) -> LogFormat:
    """Both formats."""
    return LogFormat(request.param)


def _written(log_format: LogFormat, *args: object, **kwargs: object) -> str:
    stream = io.StringIO()
    logs.install(log_format, stream)
    logging.getLogger("tusd_py.somewhere").error(*args, **kwargs)  # type: ignore[arg-type]
    return stream.getvalue()


def test_nasty_text_is_one_printable_line(log_format: LogFormat) -> None:
    """Row 26: line ends, escapes, reversed reading order and placeholders change nothing."""
    line = _written(log_format, NASTY, extra={"upload_id": NASTY, "x\ny": 1})
    assert 1 == line.count("\n")
    assert line[:-1].isprintable()
    assert "%s {} end" in line


def test_long_record_is_cut(log_format: LogFormat) -> None:
    """Row 26: a megabyte becomes a line of at most 8 KiB, and JSON stays JSON."""
    many = {f"key{number}": "é" * 1000 for number in range(100)}
    for extra in ({}, {"field": "\x00" * 10**6}, many):
        line = _written(log_format, "x" * 10**6, extra=extra)
        assert len(line.encode()) <= logs.LONGEST + 1
        assert 1 == line.count("\n")
        if log_format is LogFormat.JSON:
            assert msgspec.json.decode(line)["message"].endswith("...")


def test_json_has_what_a_record_knows() -> None:
    """Time in UTC, level, logger, sentence, and the extra fields by name."""
    record = msgspec.json.decode(_written(LogFormat.JSON, "did %s", "it", extra={"action": "done", "count": 3}))
    assert record.pop("time").endswith("+00:00")
    expected = {"level": "ERROR", "logger": "tusd_py.somewhere", "message": "did it", "action": "done", "count": "3"}
    assert expected == record


def test_text_reads_like_a_sentence() -> None:
    """Time, level, logger, sentence, then key=value."""
    line = _written(LogFormat.TEXT, "did it", extra={"action": "done"})
    assert line.endswith(" ERROR tusd_py.somewhere: did it action=done\n")


def test_traceback_stays_in_its_line(log_format: LogFormat) -> None:
    """A traceback is a field."""
    try:
        raise KeyError("missing")
    except KeyError:
        line = _written(log_format, "failed", exc_info=True)
    assert 1 == line.count("\n")
    assert "KeyError" in line


def test_wrong_format_string_costs_nothing(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in a log call is logged as it is, and nothing is printed beside."""
    line = _written(log_format, "only %d", "text")
    assert "only %d" in line
    assert "text" in line
    assert "" == capsys.readouterr().err


def test_second_installation_replaces_the_first() -> None:
    """No record is written twice."""
    assert 1 == _written(LogFormat.TEXT, "one").count("\n")
    assert 1 == _written(LogFormat.TEXT, "one").count("\n")
