"""What a request may say."""

from __future__ import annotations

import hashlib

import pytest

from gemma_gateway.core.call import Change
from gemma_gateway.core.dialect import Message, TextPart
from gemma_gateway.core.errors import Code
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.policy import Category, Match, Policy
from gemma_gateway.wire.content_hash import content_hash


def message(*texts: str, channel: str = "content") -> Message:
    parts = [{"text": text} for text in texts]
    texts = [
        TextPart(part, "text", f"messages.0.content.{i}.text", channel, spoken=True)
        for i, part in enumerate(parts)
    ]
    return Message("messages.0", "user", texts)


def test_a_blocked_message_names_field_and_category_but_no_term() -> None:
    with pytest.raises(incoming.Filtered) as caught:
        incoming.check(Policy.load(), [message("fine"), message("fine", "I hate it")])
    error = caught.value
    assert (error.code, error.param) == (Code.CONTENT_FILTERED, "messages.0.content.1.text")
    assert "harm" in error.message
    assert "hate" not in error.message
    assert error.match == Match("harm", "hate")


def test_a_term_does_not_hide_between_the_parts_of_a_message() -> None:
    policy = Policy((Category(name="x", terms=("hate", "hate crime")),))
    for parts in (("I ha", "te it"), ("hat", "e"), ("abc", "hate"), ("h", "a", "t", "e")):
        with pytest.raises(incoming.Filtered):
            incoming.check(policy, [message(*parts)])
    phrase = Policy((Category(name="x", terms=("very bad",)),))
    with pytest.raises(incoming.Filtered):
        incoming.check(phrase, [message("very", "bad")])
    assert incoming.check(policy, [message("ha"), message("te")]) == set()


def test_flags_of_a_request() -> None:
    policy = Policy((Category(name="sport", terms=("golf",), action="flag"),))
    assert incoming.check(policy, [message("go", "lf"), message("no")]) == {"sport"}


def test_sanitising_a_request_in_place() -> None:
    dirty = message("a<script>x</script>b", "plain")
    first = Change("messages.0.content.0.text", "stripped")
    assert incoming.sanitise([dirty], strip=True) == [first]
    assert [text_part.text for text_part in dirty.texts] == ["ab", "plain"]
    assert incoming.sanitise([dirty], strip=True) == []
    split = message("a<scr", "ipt>x</script>b", "c")
    second = Change("messages.0.content.1.text", "stripped")
    assert incoming.sanitise([split], strip=True) == [first, second]
    assert [text_part.text for text_part in split.texts] == ["a", "b", "c"]


def test_what_is_only_flagged_stays() -> None:
    dirty = message("a<script>x</script>b", "plain")
    told = [Change("messages.0.content.0.text", "flagged")]
    assert incoming.sanitise([dirty], strip=False) == told
    assert [text_part.text for text_part in dirty.texts] == ["a<script>x</script>b", "plain"]


def test_the_hash_of_the_content() -> None:
    assert content_hash([message("hello")]) == hashlib.sha256(b"hello").hexdigest()[:16]
    assert content_hash([message("a", "b")]) != content_hash([message("ab")])
    assert len(content_hash([message("\ud800")])) == 16
