"""Where a tool calls, and with which key.

A key never stands on the command line, where the shell's history and ``ps`` show it.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from gemma_gateway.access.keys import MAX_HEADER_BYTES
from gemma_gateway.cli.command import CommandError
from gemma_gateway.cli.fetch import Reply, Unreached, get
from gemma_gateway.settings import is_loopback

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "GATEWAY_API_KEY"
DATA_DIR_VARIABLE = "GATEWAY_DATA_DIR"
LONGEST_KEY = MAX_HEADER_BYTES - len("Bearer ")
_KEY = re.compile(r"[\x21-\x7e]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words ``--url`` and ``--key-file``."""
    parser.add_argument(
        "--url", type=base_url, default=DEFAULT_URL, help="the gateway's address (%(default)s)"
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        help=f"file that holds the API key; default: ${KEY_VARIABLE}, or else, for a gateway on "
        "this machine, its own .gateway/api_key",
    )


def base_url(text: str) -> str:
    """An address without its ``/v1`` and last slash.

    Raises:
        argparse.ArgumentTypeError: it is no plain http or https address.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as {DEFAULT_URL}")
    if "@" in parts.netloc:  # not repeated: it may hold a password
        raise argparse.ArgumentTypeError("no user or password in the address: see --key-file")
    if parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r}: the address must not contain ? or #")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def api_key(url: str, key_file: Path | None) -> str:
    """The key to call with; empty where there is none.

    Args:
        url: where it will be sent: the key of this machine's gateway goes nowhere else unasked.
        key_file: from ``--key-file``; wins over the environment.

    Raises:
        CommandError: the file can't be read, or what was found is no key.
    """
    if key_file is not None:
        return _checked(_read(key_file), str(key_file))
    if given := os.environ.get(KEY_VARIABLE):
        return _checked(given, KEY_VARIABLE)
    own = Path(os.environ.get(DATA_DIR_VARIABLE) or ".gateway") / "api_key"
    if is_loopback(urlsplit(url).hostname or "") and own.is_file():
        return _checked(_read(own), str(own))
    return ""


def reached(url: str, key: str, path: str) -> Reply:
    """The answer of a gateway to a GET.

    Raises:
        CommandError: nobody answers; the text says what to do.
    """
    try:
        return get(url + path, key)
    except Unreached as error:
        raise CommandError(
            f"no answer from {url} ({error}). Is the gateway running there? "
            "Name its address with --url",
            status=1,
        ) from None


def no_key(status: int, code: str) -> str:
    """What to do about a key that was refused.

    Args:
        status: of the answer, 401 or 403.
        code: the error's code.
    """
    if code == "OPERATOR_REQUIRED":
        return (
            f"{code}: this key is no operator's. `gemma-gateway key new --name NAME --operator` "
            "makes one, for keys: of that gateway's gateway.yaml; the key that `make serve` makes "
            "(.gateway/api_key) is one, too. Name its file with --key-file, or set "
            f"{KEY_VARIABLE}"
        )
    if status == 403:
        return f"{code}: another key is needed. Set {KEY_VARIABLE}, or name a file with --key-file"
    return f"{code}: no key, or the wrong one. Set {KEY_VARIABLE}, or name a file with --key-file"


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(4096)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} holds no API key") from None


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if len(key) > LONGEST_KEY or not _KEY.fullmatch(key):
        raise CommandError(f"{where} holds no API key: one line of printable ASCII, without spaces")
    return key
