"""The log's lines as a person at a terminal reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

SHOWN = ("time", "level", "logger", "message")  # of an event; the rest follows as name=value


def call(line: dict[str, Any]) -> bytes:
    """The line of a call.

    Args:
        line: as ``AccessLog`` makes it.
    """
    words = [_clock(line["time"]), f"{line['status']} {line['outcome']}", line["route"]]
    if model := line.get("model"):
        words.append(model)
    if "input_tokens" in line:
        words.append(f"{line['input_tokens']} + {line['output_tokens']} tokens")
    words += [f"{line['seconds']:.2f} s", line["request_id"]]
    return ("  ".join(words) + "\n").encode()


def event(line: dict[str, Any]) -> str:
    """The line of an event.

    Args:
        line: as ``JsonFormatter`` makes it.
    """
    level = "" if line["level"] == "info" else f"{line['level']}: "
    rest = "".join(f"  {name}={value}" for name, value in line.items() if name not in SHOWN)
    return f"{_clock(line['time'])}  {level}{line['message']}{rest}"


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")
