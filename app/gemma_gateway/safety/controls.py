"""Control tokens: texts that a tokenizer reads as turns, media and tool calls, not as text.

Chat templates put a caller's texts between control tokens and the tokenizer then reads the whole,
so ``<end_of_turn>`` in a text would end the turn. Here each is given a dot after its first
character (``<·end_of_turn>``): people and models still read it, tokenizers don't take it for the
token, and nothing on the way (trimming, normal forms, removal of invisible characters) puts it
together again. Raw prompts, and what binds an answer (schemas, stop texts), stay as they are.

This is the last thing that happens to a request before an engine gets it: all else was done to its
texts before, and every string is seen, names and keys included.

Sources: Gemma's documentation of its formats (ai.google.dev/gemma/docs/core/prompt-structure and
prompt-formatting-gemma4, /functiongemma/formatting-and-best-practices), the ``added_tokens`` of
the tokenizers of Gemma 1 to 4, and the tokens that vLLM's and transformers' Gemma parts name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from gemma_gateway.core.dialect import Json
from gemma_gateway.settings import CONTROL_TEXT

GEMMA = (
    *("<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<2mass>", "[@BOS@]", "[multimodal]"),
    *("<unused0>", "<start_of_turn>", "<end_of_turn>"),
    *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    *("<start_of_audio>", "<end_of_audio>", "<audio_soft_token>"),
    *("<start_of_video>", "<end_of_video>", "<escape>"),
    *("<start_function_declaration>", "<end_function_declaration>"),
    *("<start_function_call>", "<end_function_call>"),
    *("<start_function_response>", "<end_function_response>"),
    *("<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>", '<|"|>'),
    *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
    *("<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>"),
    *("<|video>", "<video|>", "<|video|>"),
)
# Fields whose strings no template shows: raw prompts, what binds or names, the template itself.
SPARED = frozenset(
    {
        *("prompt", "suffix", "stop", "stop_sequences", "bad_words"),
        *("response_format", "structured_outputs", "text", "output_config"),
        *("chat_template", "model", "metadata", "user"),
    }
)
DOT = "·"
MOST_CHARS = 64  # of a token, see CONTROL_TEXT: others are not looked for
_SLICE = 64 * 1024  # bytes that are looked through while no other thread can run
_FEW = 8  # places of a byte that are looked at one by one
_TAG = 3  # bytes after ``<`` by which most tags are told from tokens
_NONE: frozenset[str] = frozenset()
_DIGITS = "0123456789"
_NUMBERED = re.compile(r"(<[a-z_]+)[0-9]+>")  # one of thousands of a kind, such as <unused99>
# An escaped ASCII character in a call's arguments (JSON in a string), which templates decode.
_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*+)\\u00([2-7][0-9a-fA-F])")
_ESCAPED = rb"\\u00"  # the same in the body's own JSON


class ControlTokens:
    """The control tokens of the models behind this gateway.

    Args:
        further: tokens beside Gemma's own.
        told: what the engine says of its tokenizer; the same object until that changes.
    """

    def __init__(
        self,
        further: Iterable[str] = (),
        told: Callable[[], frozenset[str]] = lambda: _NONE,
    ) -> None:
        self._own = frozenset(further).union(GEMMA)
        self._told = told
        self._known = _Tokens(self._own, told())

    def write(self, body: Json, places: list[str] | None = None) -> tuple[bytes, int]:
        """A request's body as JSON for an engine, and how many tokens were made text (in place).

        Args:
            places: gets the fields, and the entries of lists (``messages.3``), that held them.

        Costs a microsecond beside the writing itself where no text holds ``<``; large bodies belong
        in a thread.
        """
        if (told := self._told()) is not self._known.told:
            self._known = _Tokens(self._own, told)
        data = orjson.dumps(body)
        if self._known.may_stand_in(data):
            return self._known.rewritten(body, data, [] if places is None else places)
        return data, 0

    def text(self, text: str) -> str:
        """A text that is to stand in a prompt of our own making."""
        return self._known.change().text(text)


class _Tokens:
    """What is known of a set of tokens. Never changed: threads may share it.

    Args:
        own: tokens known from the start.
        told: those of the engine.
    """

    def __init__(self, own: frozenset[str], told: frozenset[str]) -> None:
        self.told = told
        tokens = {token for token in own | told if re.fullmatch(CONTROL_TEXT, token)}
        kinds = {kind[1] for token in tokens if (kind := _NUMBERED.fullmatch(token))}
        plain = {token for token in tokens if not _NUMBERED.fullmatch(token)}
        # In a call's arguments a quotation mark has a backslash before it.
        plain |= {token.replace('"', r"\"") for token in plain}
        self._kinds, self._tokens = sorted(kinds), sorted(plain)
        self._written = {orjson.dumps(text)[1:-1]: text for text in plain | kinds}
        tags = [text for text in self._written if text[:1] == b"<" and len(text) > _TAG]
        self._others = [text for text in self._written if text not in tags]
        self._tags = re.compile(b"|".join(map(re.escape, sorted(tags, reverse=True))))
        self._tag_starts = frozenset(text[1 : _TAG + 1] for text in tags)
        starts = {b"<" if token[0] == "<" else token[:2].encode() for token in tokens}
        self._starts = {
            bytes([first]): b"".join(start[1:2] for start in sorted(starts) if start[0] == first)
            for first in sorted({start[0] for start in starts})
        }
        whole = [*plain, *(kind + ">" for kind in kinds)]
        self._beginnings = {token[:end] for token in whole for end in range(1, len(token))}
        self._endings = {token[start:] for token in whole for start in range(1, len(token))}
        self._firsts = {token[0] for token in whole}
        self._lasts = {token[-1] for token in whole}

    def may_stand_in(self, data: bytes) -> bool:
        """A quick look at a body's JSON: whether it is worth a longer one."""
        for first, seconds in self._starts.items():
            at = data.find(first)  # a single byte is found far sooner than two
            if at < 0:
                continue
            if not seconds:
                return True
            for _ in range(_FEW):
                if at < 0:
                    break
                if data[at + 1] in seconds:
                    return True
                at = data.find(first, at + 1)
            if at >= 0 and any(first + bytes([second]) in data for second in seconds):
                return True
        return b"\\" in data and _ESCAPED in data

    def change(self) -> _Change:
        """A rewriting that looks for all of them."""
        return _Change([*self._tokens, *self._kinds])

    def rewritten(self, body: Json, data: bytes, places: list[str]) -> tuple[bytes, int]:
        """``ControlTokens.write`` for a body that may hold tokens."""
        present = self._present(data)
        seams = self._has_seams(body)
        if not (present or seams):
            return data, 0
        change = _Change(sorted(present), self._beginning if seams else None)
        change.apply(body)
        places += change.places
        return (orjson.dumps(body) if change.made else data), change.found

    def _present(self, data: bytes) -> set[str]:
        """Which tokens and kinds may stand in a body's JSON: most texts with ``<`` hold none."""
        if _ESCAPED in data:
            return {*self._tokens, *self._kinds}
        found = {text for text in self._others if text in data}
        for start in range(0, len(data), _SLICE):
            end = start + _SLICE + 4 * MOST_CHARS
            pieces = data[start:end].split(b"<")
            if not self._tag_starts.isdisjoint({piece[:_TAG] for piece in pieces}):
                found.update(self._tags.findall(data, start, end))
        return {self._written[text] for text in found}

    def _has_seams(self, body: Json) -> bool:
        """Whether a text ends like the beginning of a token and one begins like the end of a
        token: templates join texts, trimmed or not, in an order that only they know."""
        texts = list(_texts(body))
        return any(map(self._beginning, texts)) and any(map(self._goes_on, texts))

    def _beginning(self, text: str) -> int:
        """Length of the text up to a token's first character when it ends with the beginning of
        that token, white space aside; else 0."""
        text = text.rstrip()
        for first in self._firsts:
            at = text.rfind(first, max(0, len(text) - MOST_CHARS))
            if at >= 0 and text[at:].rstrip(_DIGITS) in self._beginnings:
                return at + 1
        return 0

    def _goes_on(self, text: str) -> bool:
        """Whether it begins with the end of a token."""
        text = text.lstrip()
        for last in self._lasts:
            at = text.find(last, 0, MOST_CHARS)
            if at >= 0 and text[:at].rstrip(_DIGITS) + last in self._endings:
                return True
        return False


class _Change:
    """One rewriting of texts.

    Args:
        tokens: those to look for; of numbered ones what stands before the number.
        beginning: where a token's beginning at a text's end is to be cut; 0: nowhere.

    Attributes:
        found: tokens that were broken.
        made: whether anything was changed.
        places: fields and entries of lists that held tokens, such as ``messages.3``.
    """

    def __init__(self, tokens: list[str], beginning: Callable[[str], int] | None = None) -> None:
        self._tokens = [(token, token[0] + DOT + token[1:]) for token in tokens]
        self._beginning = beginning
        self.found = 0
        self.made = False
        self.places: list[str] = []

    def apply(self, body: Json) -> None:
        """Rewrite every string and key that a template may show, in place."""
        for name, value in body.items():
            if name in SPARED:
                continue
            if isinstance(value, list):
                for number in range(len(value)):
                    self._within(value, number, f"{name}.{number}")
            else:
                self._within(body, name, name)
        self._names(body)

    def _within(self, holder: Any, key: Any, place: str) -> None:
        """Rewrite one field or entry of a list."""
        before = self.found
        stack: list[tuple[Any, Any]] = [(holder, key)]
        while stack:
            holder, key = stack.pop()
            value = holder[key]
            if isinstance(value, str):
                holder[key] = self._value(key, value)
            elif isinstance(value, list):
                stack += [(value, number) for number in range(len(value))]
            elif isinstance(value, dict):
                self._names(value)
                stack += [(value, name) for name in value]
        if self.found != before:
            self.places.append(place)

    def _names(self, node: Json) -> None:
        names = list(map(self.text, node))
        if names != list(node):
            values = list(node.values())
            node.clear()
            node.update(zip(names, values, strict=True))

    def text(self, text: str) -> str:
        """One text without its tokens."""
        broken = text
        for token, dotted in self._tokens:
            if token in broken:
                broken = _replaced(broken, token, dotted)
        if self._beginning is not None and (at := self._beginning(broken)):
            broken = broken[:at] + DOT + broken[at:]
        if len(broken) != len(text):
            self.made = True
            self.found += len(broken) - len(text)
        return broken

    def _value(self, key: Any, text: str) -> str:
        if key == "arguments" and "\\u00" in text:
            self.made = True
            text = _ESCAPE.sub(_decoded, text)
        return self.text(text)


def _replaced(text: str, token: str, dotted: str) -> str:
    if token[-1] == ">" or not token.startswith("<"):
        return text.replace(token, dotted)
    return re.sub(f"{re.escape(token)}(?=[0-9]++>)", dotted, text)


def _decoded(found: re.Match[str]) -> str:
    char = chr(int(found[2], 16))
    return found[1] + ("\\" + char if char in '"\\' else char)


def _texts(body: Json) -> Iterator[str]:
    """Every string and key of a request that a template may show."""
    stack: list[Any] = [value for key, value in body.items() if key not in SPARED]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            yield from node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
