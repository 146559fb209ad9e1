import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.telemetry.log import LineFormatter, configure_logging, one_line


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A log of its own; everything is put back afterwards."""
    names = ("guardproxy", "uvicorn", "uvicorn.error", "uvicorn.access", "LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in names}
    for handler in handlers:  # else basicConfig(force=True) closes them
        root.removeHandler(handler)
    yield io.StringIO()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def record(message: str, *args: object, name: str = "guardproxy.app", exc_info: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if exc_info else None
    return logging.LogRecord(name, logging.INFO, "f.py", 1, message, args, info)


def test_text_is_one_line_with_time_level_and_logger(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    logging.getLogger("guardproxy.app").info("listening on %s", "127.0.0.1:8080")
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == "INFO guardproxy.app listening on 127.0.0.1:8080\n"


def test_json_is_one_object_a_line(stream: io.StringIO) -> None:
    configure_logging("info", as_json=True, stream=stream)
    logging.getLogger("guardproxy.app").warning("two\nlines\x7f\u2028")
    (line,) = stream.getvalue().splitlines()
    assert {key: value for key, value in json.loads(line).items() if key != "time"} == {
        "level": "WARNING", "logger": "guardproxy.app", "message": "two\nlines\x7f\u2028",
    }  # fmt: skip


def test_the_level_is_ours_alone(stream: io.StringIO) -> None:
    configure_logging("debug", stream=stream)
    for name in ("guardproxy.x", "uvicorn.error", "httpx", "aiohttp.client", "LiteLLM", "uvicorn.access"):
        logging.getLogger(name).debug("debug of %s", name)
    assert [line.split(" ")[-1] for line in stream.getvalue().splitlines()] == ["guardproxy.x", "uvicorn.error"]
    logging.getLogger("httpx").warning("a warning")
    logging.getLogger("LiteLLM").error("a body")
    assert stream.getvalue().endswith("WARNING httpx a warning\n")


def test_an_exception_is_its_type_and_places_without_message() -> None:
    try:
        int("a-secret-value")
    except ValueError:
        told = record("failed", exc_info=True)
    text = LineFormatter().format(told)
    assert "ValueError at test_log.py:" in text
    assert "a-secret-value" not in text
    assert json.loads(LineFormatter(as_json=True).format(told))["exception"].startswith("ValueError at ")


def test_of_other_libraries_the_first_line_is_kept() -> None:
    told = record("Task exception was never retrieved\nfuture: <Task exception=ValueError('secret')>", name="asyncio")
    assert LineFormatter().format(told).endswith("asyncio Task exception was never retrieved")
    assert len(LineFormatter().format(record("x" * 10_000, name="other"))) < 400


def test_credentials_are_scrubbed() -> None:
    assert "[redacted:authorization]" in LineFormatter().format(record("got Bearer abcdefgh12345678"))


def test_a_message_that_cannot_be_formatted_is_still_a_line() -> None:
    assert LineFormatter().format(record("%d of %d", "x")).endswith("%d of %d (could not be formatted)")


def test_warnings_of_the_standard_library_are_lines_too(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    logging.getLogger("py.warnings").warning("f.py:1: UserWarning: careful\n  warnings.warn(...)\n")
    assert stream.getvalue().endswith("WARNING py.warnings f.py:1: UserWarning: careful\n")


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_makes_two_lines(text: str) -> None:
    line = LineFormatter().format(record("%s", text))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert len(LineFormatter(as_json=True).format(record("%s", text)).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é", "plain é"), ("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\u202e", "\\u202e"), ("\ud800", "\\ud800")],
)
def test_one_line_escapes_what_does_not_print(text: str, shown: str) -> None:
    assert one_line(text) == shown
