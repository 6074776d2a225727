"""One line per call on standard output, one per event on standard error: JSON, or plain where a
person watches. Never content, never secrets."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from asyncio import get_running_loop
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, BinaryIO, TextIO

import orjson

from gemma_gateway.core.call import Call, Trace
from gemma_gateway.core.outcomes import status_of
from gemma_gateway.core.stage import End
from gemma_gateway.telemetry import foreign, plain

logger = logging.getLogger("gateway")
# The trace of the call that the running task works for; None where nothing is traced.
current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)


class JsonFormatter(logging.Formatter):
    """One JSON object per record. Of an exception it keeps type and frames, not its message,
    which may quote what a user sent; of other libraries' messages see ``foreign``."""

    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(self.line(record)).decode()

    def line(self, record: logging.LogRecord) -> dict[str, Any]:
        """What is said of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if foreign.own(record):
            line["message"] = record.getMessage()
        else:
            line |= {"message": foreign.message(record), "place": foreign.place(record)}
        line |= getattr(record, "fields", {})  # what is logged with extra={"fields": ...}
        if (trace := current_trace.get()) is not None:
            line["trace_id"], line["span_id"] = trace.trace_id, trace.span_id
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["frames"] = [
                f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in frames
            ]
        return line


class PlainFormatter(JsonFormatter):
    """The same, for a person."""

    def format(self, record: logging.LogRecord) -> str:
        return plain.event(self.line(record))


def configure(level: str, libraries: TextIO | None = None) -> None:
    """Send the process's log to standard error.

    Args:
        level: lowest one of the gateway's own events.
        libraries: where others' events go; None: there, too.
    """
    terminal = sys.stderr.isatty()
    root = logging.getLogger()
    root.handlers[:] = [_handler(libraries or sys.stderr, terminal and libraries is None)]
    root.setLevel(logging.WARNING)
    logger.setLevel(level.upper())
    if libraries is not None:
        logger.handlers[:] = [_handler(sys.stderr, terminal)]
        logger.propagate = False
    logging.getLogger("gateway.audit").setLevel(logging.INFO)  # who changed keys, at any level
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a record that can't be written would be shown with its values
    threading.excepthook = _thread_failed


def _handler(out: TextIO, for_people: bool) -> logging.Handler:
    handler = logging.StreamHandler(out)
    handler.setFormatter(PlainFormatter() if for_people else JsonFormatter())
    return handler


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    logger.error("a thread failed", exc_info=failed.exc_value)


class AccessLog:
    """One line per call, gathered and written at most every 50 ms.

    Args:
        out: binary stream, which gets JSON; None: standard output, in plain words on a terminal.
    """

    def __init__(self, out: BinaryIO | None = None) -> None:
        self._out = out or sys.stdout.buffer
        self._written: Callable[[dict[str, Any]], bytes] = _json
        if out is None and sys.stdout.isatty():
            self._written = plain.call
        self._lines: list[bytes] = []

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``: queue the call's line."""
        principal, request, answer, usage = call.principal, call.request, call.answer, end.usage
        line: dict[str, Any] = {
            "time": datetime.now(UTC),
            "request_id": call.id,
            "call_id": call.engine_id,
            "route": call.path,
            "status": status_of(end.outcome, end.status),
            "outcome": end.outcome,
            "seconds": round(end.seconds, 6),
        }
        if call.client_address:
            line["client_address"] = call.client_address
        if principal is not None:
            line["key"] = principal.key_id[:8]
            line["tier"] = principal.tier_name
        if request.content_hash:
            line["model"] = request.model
            line["stream"] = request.stream
            line["content_sha256"] = request.content_hash
        if usage.prompt_tokens or usage.completion_tokens:
            line["input_tokens"] = usage.prompt_tokens
            line["output_tokens"] = usage.completion_tokens
            line["tokens_per_second"] = round(usage.completion_tokens / end.seconds, 2)
            if usage.estimated:
                line["usage_estimated"] = True
        if answer.refused:
            line["refused_field"] = answer.refused
        if request.control_tokens:
            line["control_tokens"] = request.control_tokens
        if answer.first_token:
            line["time_to_first_token"] = round(answer.first_token - call.started, 6)
        if call.trace is not None:
            line["trace_id"], line["span_id"] = call.trace.trace_id, call.trace.span_id
        if not self._lines:
            get_running_loop().call_later(0.05, self.flush)
        self._lines.append(self._written(line))

    async def start(self) -> None:
        """See ``Part.start``; lines are written from the first one on."""

    async def stop(self) -> None:
        """Write what is queued. Idempotent."""
        self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        if self._lines:
            data, self._lines = b"".join(self._lines), []
            self._out.write(data)
            self._out.flush()


def _json(line: dict[str, Any]) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
