"""The bytes of the benchmark, made once: what vLLM writes for one chat call, and what is asked."""

from __future__ import annotations

import json
from functools import lru_cache

MODEL = "gemma-3-270m"
# English with a few words that begin like blocked terms and are not, so that a filter has to wait.
TEXT = (
    " The village lies where the river leaves the hills, and most of its people have lived there"
    " all their lives. In spring they plant beans and barley, in summer they mend the roofs and the"
    " old stone bridge, and when the harvest is in they hold a fair that lasts three days. Somebody"
    " plays the violin, children run after the geese, and the baker sells bread with honey from a"
    " cart that his mother painted green. One year a stranger came with a hat full of coins and a"
    " map that nobody could read. He asked for a bed, paid for a week, and walked along the water"
    " every morning as if he were looking for something that he had lost there long ago. On the"
    " last day he fell ill, and the doctor sat with him until the moon was over the mill. What he"
    " told her she never said, but in the autumn she bought the field by the bridge and planted"
    " pear trees in long rows, and each of them carries a small brass number to this day."
)
_IDS = {"id": "chatcmpl-9f3c1a7be27a4d0f8d3f5f0c6b1e2d4a", "created": 1_764_000_000, "model": MODEL}
DONE = b"data: [DONE]\n\n"


def _tokens() -> list[str]:
    """Pieces of about four characters, cut as a tokenizer does: a space leads a word."""
    pieces: list[str] = []
    for word in TEXT.split(" ")[1:]:
        spaced = " " + word
        pieces += [spaced[i : i + 5] for i in range(0, len(spaced), 5)]
    return pieces


def _event(doc: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(doc, separators=(",", ":")).encode() + b"\n\n"


@lru_cache
def events(tokens: int) -> tuple[bytes, ...]:
    """Events of a streamed answer of so many tokens, without usage and [DONE]."""
    pieces = _tokens()
    head = {**_IDS, "object": "chat.completion.chunk"}
    first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
    out = [_event({**head, "choices": [{**first, "finish_reason": None}], "prompt_text": None})]
    for number in range(tokens):
        choice: dict[str, object] = {
            "index": 0,
            "delta": {"content": pieces[number % len(pieces)]},
            "logprobs": None,
            "finish_reason": "length" if number == tokens - 1 else None,
            "token_ids": None,
        }
        out.append(_event({**head, "choices": [choice]}))
    return tuple(out)


@lru_cache
def usage_event(tokens: int) -> bytes:
    usage = {"prompt_tokens": 61, "total_tokens": 61 + tokens, "completion_tokens": tokens}
    return _event({**_IDS, "object": "chat.completion.chunk", "choices": [], "usage": usage})


@lru_cache
def stream(tokens: int) -> bytes:
    """The body that the client of a streamed call must get."""
    return b"".join(events(tokens)) + DONE


@lru_cache
def answer() -> bytes:
    """A whole answer (not streamed) of 64 tokens."""
    pieces = _tokens()
    message = {
        "role": "assistant",
        "content": "".join(pieces[i % len(pieces)] for i in range(64)),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    doc = {
        **_IDS,
        "object": "chat.completion",
        "choices": [{**choice, "stop_reason": None, "token_ids": None}],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {"prompt_tokens": 61, "total_tokens": 125, "completion_tokens": 64},
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }
    return json.dumps(doc, separators=(",", ":")).encode()


def request(port: int, key: str, *, stream: bool, tokens: int, pace_us: int = 0) -> bytes:
    """A whole HTTP request. ``seed`` tells the benchmark's upstream the pace."""
    doc = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant who answers briefly."},
            {"role": "user", "content": "Tell me of the village fair, please." + TEXT},
        ],
        "max_tokens": tokens,
        "temperature": 0.8,
        "seed": pace_us,
        "stream": stream,
    }
    body = json.dumps(doc).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
