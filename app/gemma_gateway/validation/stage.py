"""The steps that make a valid request of a body."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from gemma_gateway.core.call import Call, Change, Request
from gemma_gateway.core.dialect import Json, Media
from gemma_gateway.core.form import FormDialect
from gemma_gateway.validation import fields
from gemma_gateway.validation.request import fit, validate
from gemma_gateway.wire import coding, multipart, strict_json
from gemma_gateway.wire.content_hash import content_hash
from gemma_gateway.wire.openai.openai import invalid

IGNORED = "x-gateway-ignored"  # tells the client which fields were left out


class Decompress:
    """Undoes the content coding of a body.

    Args:
        most: bytes of a decoded body.
    """

    name = "validation"

    def __init__(self, most: int) -> None:
        self._most = most

    def run(self, call: Call) -> None:
        """See ``Step``; raises VALIDATION_ERROR or REQUEST_TOO_LARGE."""
        request = call.request
        if request.coding:
            request.raw = coding.decode(request.raw, request.coding, self._most)


class Decode:
    """Reads the JSON, leaves out the fields that no engine is to get, and finds the texts.

    Args:
        max_depth: how many arrays and objects may stand inside one another.
        allowed: engine internals that the operator lets clients set.
    """

    name = "validation"

    def __init__(self, max_depth: int, allowed: frozenset[str]) -> None:
        self._max_depth = max_depth
        self._allowed = allowed

    def run(self, call: Call) -> None:
        """See ``Step``; raises VALIDATION_ERROR with ``param`` naming the field."""
        request, dialect = call.request, call.dialect
        if isinstance(dialect, FormDialect):
            body = _form(dialect, request)
        else:
            body = strict_json.loads(request.raw, self._max_depth, request.changes)
        if ignored := fields.select(call.dialect, body, self._allowed):
            call.answer.headers[IGNORED] = fields.header(ignored)
        request.messages = call.dialect.messages(body)
        request.body = body


def _form(dialect: FormDialect, request: Request) -> Json:
    """The fields of a form; its file goes along with them."""
    form = multipart.read(request.raw, request.media_type)
    if not form.file:
        raise multipart.missing("file") if form.file is None else invalid("It is empty.", "file")
    request.raw, request.attachment = b"", form.file
    return dialect.document(form.fields)


class Validate:
    """Holds the request to the bounds of its caller's tier, and fills in the tier's defaults.

    Args:
        allowed: engine internals that the operator lets clients set.
    """

    name = "validation"

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    def run(self, call: Call) -> None:
        """See ``Step``; raises VALIDATION_ERROR with ``param`` naming the field."""
        request, principal = call.request, call.principal
        assert principal is not None  # the first stage knows
        body, messages = request.body, request.messages
        if principal.tier.thinking == "drop":
            request.changes += (Change(name, "dropped") for name in fields.drop_thinking(body))
        validate(call.dialect, request, principal, self._allowed)
        media: list[Media] = []
        request.content_hash = request.affinity = content_hash(messages, media)
        request.media = media
        if request.attachment:  # no cache of prompts knows it
            request.content_hash = sha256(request.attachment).hexdigest()[:16]
            request.affinity = ""
        if len(messages) > 2:  # later turns of a conversation find the prefix of the earlier ones
            request.affinity = content_hash(messages[:2])
        request.input_length = sum([len(s.text) for m in messages if m.counts for s in m.texts])
        request.stream = body.get("stream") is True
        request.usage_hidden = request.stream and call.dialect.ask_usage(body)


class Fit:
    """Bounds the answer by the context of the model that was chosen.

    Args:
        context: of a model, tokens; None: not known.
    """

    name = "validation"

    def __init__(self, context: Callable[[str], int | None]) -> None:
        self._context = context

    def run(self, call: Call) -> None:
        """See ``Step``; raises VALIDATION_ERROR with ``param`` naming the field."""
        if call.dialect.max_tokens:
            fit(call.dialect, call.request, self._context(call.request.model))
