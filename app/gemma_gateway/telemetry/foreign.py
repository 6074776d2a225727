"""What other libraries may say in our log: where and what kind, no content.

Their messages and exceptions quote what callers sent and what models wrote (parsers, validators,
renderers, compilers of grammars). So a message is written only if it stands word for word in the
source of the function that logs it; its arguments and the texts of exceptions never are. While an
engine starts there are no calls, and what is said then is said in full: an operator needs it.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

OWN = ("gemma_gateway", "gateway")
LEFT_OUT = "(text left out)"
# The functions in which an engine starts: here, in its core and in its workers (vLLM 0.32).
STARTS = (
    ("gemma_gateway/engines/local/vllm_app.py", "build"),
    ("gemma_gateway/engines/local/vllm_app.py", "_prepare"),
    ("gemma_gateway/engines/local/vllm_app.py", "_start_engine"),
    ("vllm/v1/engine/core.py", "__init__"),
    ("vllm/v1/executor/multiproc_executor.py", "__init__"),
)


def own(record: logging.LogRecord) -> bool:
    """Whether a record is the gateway's own, whose messages hold no content."""
    return record.name.partition(".")[0] in OWN


def message(record: logging.LogRecord) -> str:
    """What may be written of a foreign record's message. To be called while it is logged."""
    if starting(record.exc_info[2] if record.exc_info else None):
        return _in_full(record)
    for frame in _stack():
        code = frame.f_code
        if code.co_name == record.funcName and code.co_filename == record.pathname:
            constant = isinstance(record.msg, str) and record.msg in code.co_consts
            return record.msg if constant else LEFT_OUT
    return LEFT_OUT


def place(record: logging.LogRecord) -> str:
    """Where a record comes from."""
    return f"{record.filename}:{record.lineno} {record.funcName}"


def starting(trace: TracebackType | None) -> bool:
    """Whether the running function, or the exception, belongs to an engine's start."""
    codes = [frame.f_code for frame in _stack()]
    codes += [frame.f_code for frame, _ in traceback.walk_tb(trace)]
    return any(
        code.co_name == name and code.co_filename.endswith(file)
        for code in codes
        for file, name in STARTS
    )


def _in_full(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info))
    return text


def _stack() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
