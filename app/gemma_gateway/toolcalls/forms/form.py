"""What a form of calls is."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.tool import Tools


class Sure(Enum):
    """Where calls of a form are meant as such, and not as an example in an explanation."""

    ANYWHERE = "anywhere"
    OUTSIDE = "at the beginning or the end of an answer"
    END = "at the end of an answer"


class Found(NamedTuple):
    """Calls in an answer.

    Args:
        calls: at least one.
        end: where the text goes on after them.
        sure: where they count.
    """

    calls: list[Call]
    end: int
    sure: Sure


class Form(Protocol):
    """A form in which models write calls.

    Attributes:
        openings: what begins it within a line, too; without any it has to begin a line.
    """

    openings: tuple[str, ...]

    def read(self, text: str, at: int, tools: Tools, *, final: bool) -> Found:
        """The calls that begin at ``at``.

        Args:
            final: no more text comes.

        Raises:
            Unfinished: more text has to tell.
            NotACall: there are none.
        """
        ...
