"""Routes that take a file in a form, multipart/form-data, instead of JSON."""

from __future__ import annotations

from abc import abstractmethod

from gemma_gateway.core.dialect import Dialect, Json


class FormDialect(Dialect):
    """Such a route. Engines may answer its calls in another shape than the route's own, and that
    may be something else than JSON."""

    @abstractmethod
    def document(self, fields: list[tuple[str, str]]) -> Json:
        """The fields of a form as a request.

        Args:
            fields: names and values, in order; without the file.

        Raises:
            GatewayError: VALIDATION_ERROR with ``param`` naming the field.
        """

    @abstractmethod
    def shape(self, answer: Json, asked: Json, seconds: float) -> Json:
        """A whole answer as the route tells it in JSON.

        Args:
            answer: an engine's.
            asked: the request.
            seconds: of the sound.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """

    @abstractmethod
    def render(self, answer: Json, asked: Json) -> tuple[bytes, bytes]:
        """The media type and the bytes of an answer that was shaped, as the request wants it."""
