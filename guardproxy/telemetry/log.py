"""The log on standard error: one line a record, text or JSON, never a body, a header or a secret.

Exceptions are shown as a type and the places they passed, without their message: messages quote what was being
worked on. Of what other libraries log only the first line is kept, for the same reason.
"""

import json
import logging
import sys
import traceback
from types import TracebackType
from typing import TextIO

from guardproxy.telemetry.record import timestamp
from guardproxy.telemetry.redact import scrub

MAX_MESSAGE = 2000
MAX_FOREIGN_MESSAGE = 300
MAX_FRAMES = 12
_OURS = ("guardproxy",)
_QUIET = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "uvicorn.access")  # they log bodies, or a line for each request


class LineFormatter(logging.Formatter):
    """`as_json` writes one object a line, otherwise `TIME LEVEL LOGGER MESSAGE`."""

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        time, message, where = timestamp(record.created), _message(record), _where(record)
        if self._as_json:
            fields = {"time": time, "level": record.levelname, "logger": record.name, "message": message}
            return json.dumps({**fields, "exception": where} if where else fields).replace("\x7f", "\\u007f")
        line = f"{time} {record.levelname} {record.name} {message}"
        return one_line(f"{line} [{where}]" if where else line)


def configure_logging(level: str = "info", *, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Takes the root logger over. `level` is that of guardproxy and uvicorn; other libraries stay at WARNING."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(as_json=as_json))
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in (*_OURS, "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def one_line(text: str) -> str:
    """`text` with everything escaped that ends a line, moves the cursor or turns the writing direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError):
        message = f"{record.msg!s} (could not be formatted)"
    if not record.name.startswith(_OURS):
        message = message.strip().partition("\n")[0][:MAX_FOREIGN_MESSAGE]
    return scrub(message[:MAX_MESSAGE])


def _where(record: logging.LogRecord) -> str:
    """`ValueError at app.py:30 answer > pipeline.py:12 review`, innermost last."""
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    kind, _, trace = record.exc_info
    return f"{kind.__name__} at {_places(trace)}"


def _places(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
