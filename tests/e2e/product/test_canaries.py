"""Nothing of a call's words in what the whole product writes or shows, with real vLLM inside.

Its parsers meet what the model is made to say, its renderer and grammars what callers send.
"""

from __future__ import annotations

from tests import canary
from tests.process import Gateway


def test_no_word_of_a_call_is_kept(real: Gateway) -> None:
    statuses = canary.fire(real)
    assert {200, 400, 401, 404} <= statuses
    assert canary.leaks(real) == {}
    said = real.text()
    # vLLM did complain of what was sent, and the log has it without the words.
    assert "has arguments that are not valid JSON" in said
    assert "Traceback (most recent call last)" not in said
