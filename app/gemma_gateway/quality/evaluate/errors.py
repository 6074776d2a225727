"""Why an evaluation can't be made or can't go on."""

from __future__ import annotations


class EvaluationError(Exception):
    """It can't go on; the text says why and what to do, for a person."""


class Unusable(EvaluationError):
    """What was asked for can't be done: the set, the folder or a model's name is at fault."""


class KeyRefused(EvaluationError):
    """The server refused the API key.

    Args:
        status: of its answer, 401 or 403.
        code: the error's code, where the server is a gateway like this one; else empty.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the server refused the key ({code or status})")
        self.status = status
        self.code = code
