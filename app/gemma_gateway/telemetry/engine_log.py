"""The log of vLLM in its processes: the gateway, its engine core and its workers.

vLLM finds it through ``engines/local/vllm_logging.json`` (VLLM_LOGGING_CONFIG_PATH), which every
process of it reads when it is imported.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import sys
import time
from typing import TextIO

import orjson

from gemma_gateway.telemetry import foreign
from gemma_gateway.telemetry.log import JsonFormatter

SECONDS = 1.0  # between two lines about texts that were left out


class EngineHandler(logging.StreamHandler[TextIO]):
    """vLLM's records as the gateway's JSON lines, at the level of VLLM_LOGGING_LEVEL.

    In vLLM's own processes it also takes the other loggers, and what is printed or dies there.
    """

    def __init__(self) -> None:
        super().__init__(sys.__stderr__)
        self.setFormatter(JsonFormatter())
        logging.getLogger("vllm").setLevel(os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"))
        if multiprocessing.parent_process() is not None:
            logging.getLogger().handlers[:] = [self]
            logging.captureWarnings(True)
            logging.raiseExceptions = False  # see ``log.configure``
            if not isinstance(sys.stderr, Reduced):
                sys.stdout = sys.stderr = Reduced(sys.stderr)


class Reduced(io.TextIOBase):
    """A stream that shows what an engine prints while it starts, and afterwards only that it did:
    tracebacks end in texts that may quote a call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = 0.0

    def write(self, text: str) -> int:
        """Write it on, or leave it out and say so, once a second at most."""
        if foreign.starting(sys.exc_info()[2]):
            return self._stream.write(text)
        now = time.monotonic()
        if text.strip() and now - self._told >= SECONDS:
            self._told = now
            line = {
                "level": "warning",
                "logger": "stderr",
                "process": multiprocessing.current_process().name,
                "message": foreign.LEFT_OUT,
            }
            self._stream.write(orjson.dumps(line).decode() + "\n")
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def fileno(self) -> int:
        """The stream's below, for libraries that write there themselves."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Never: no colours, no progress bars."""
        return False
