"""Reading multipart/form-data (RFC 7578), as OpenAI's routes for files take it, and writing it.

Fields come with names that each route knows, and with one file; the parser is python-multipart.
"""

from __future__ import annotations

from os import urandom
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gemma_gateway.core.errors import GatewayError
from gemma_gateway.wire.openai.openai import invalid

MOST_PARTS = 64
MOST_FIELD = 64 * 1024  # bytes of a field that is no file
SEND = "Send multipart/form-data, as OpenAI's clients do: the fields, and the file."


class Form(NamedTuple):
    """What a form holds.

    Args:
        fields: names and values, in order.
        file: the content of ``file``; None: there is none.
    """

    fields: list[tuple[str, str]]
    file: bytes | None


def is_form(media_type: bytes) -> bool:
    """Whether a content type is that of a form, with its boundary."""
    kind, options = parse_options_header(media_type)
    return kind == b"multipart/form-data" and bool(options.get(b"boundary"))


def read(body: bytes, media_type: bytes) -> Form:
    """Read a form.

    Args:
        body: all of it.
        media_type: of the request, for which ``is_form`` is true.

    Raises:
        GatewayError: VALIDATION_ERROR: it isn't well-formed, holds too much, or two files.
    """
    reader = _Reader()
    try:
        parser = MultipartParser(
            parse_options_header(media_type)[1][b"boundary"],
            {  # the parser's own names
                "on_part_begin": reader.begin,
                "on_header_field": reader.name,
                "on_header_value": reader.value,
                "on_header_end": reader.header,
                "on_headers_finished": reader.headers,
                "on_part_data": reader.data,
                "on_part_end": reader.part,
                "on_end": reader.end,
            },
        )
        parser.write(body)
    except FormParserError:
        raise invalid(f"The form can't be read. {SEND}") from None
    if not reader.ended:
        raise invalid("The form ends before its last boundary.")
    return Form(reader.fields, reader.file)


class _Reader:
    """Gathers the parts that the parser tells of."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file: bytes | None = None
        self.ended = False
        self._parts = 0
        self._field, self._value = b"", b""
        self._disposition = b""
        self._name, self._is_file = "", False
        self._data = bytearray()

    def begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise invalid(f"A form has at most {MOST_PARTS} parts.")
        self._disposition, self._data = b"", bytearray()

    def name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise invalid("A part of the form has no name.")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._is_file = b"filename" in options or self._name == "file"

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]
        if not self._is_file and len(self._data) > MOST_FIELD:
            raise invalid(f"A field has at most {MOST_FIELD} bytes.", plain(self._name))

    def part(self) -> None:
        if not self._is_file:
            try:
                self.fields.append((self._name, self._data.decode()))
            except UnicodeDecodeError:
                raise invalid("A field must be UTF-8.", plain(self._name)) from None
        elif self._name != "file":
            raise invalid("The only file of this route is file.", plain(self._name))
        elif self.file is not None:
            raise invalid("A form has one file.", "file")
        else:
            self.file = bytes(self._data)
        self._data = bytearray()

    def end(self) -> None:
        self.ended = True


def plain(name: str) -> str | None:
    """A field's name as an error may tell it."""
    return name if name.isascii() and name.isprintable() and len(name) <= 64 else None


def missing(name: str) -> GatewayError:
    """The error for a field that has to be there."""
    return invalid(f"{name} is missing. {SEND}", name)


def write(fields: list[tuple[str, str]], file: bytes, name: str) -> tuple[str, bytes]:
    """A form, and its content type.

    Args:
        fields: names of this code's own, and values.
        file: the content of ``file``.
        name: its file name, of this code's own.
    """
    boundary = urandom(16).hex()
    begin = f"--{boundary}\r\ncontent-disposition: form-data; name="
    text = "".join(f'{begin}"{key}"\r\n\r\n{value}\r\n' for key, value in fields)
    text += f'{begin}"file"; filename="{name}"\r\ncontent-type: application/octet-stream\r\n\r\n'
    end = f"\r\n--{boundary}--\r\n"
    kind = f"multipart/form-data; boundary={boundary}"
    return kind, b"".join((text.encode(), file, end.encode()))
