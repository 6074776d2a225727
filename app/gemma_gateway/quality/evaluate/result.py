"""What has become of a row, as it is kept in ``rows.jsonl``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from gemma_gateway.quality.evaluate.errors import Unusable
from gemma_gateway.quality.scores import Scores

ROWS = "rows.jsonl"


class Side(msgspec.Struct, omit_defaults=True):
    """One answer to a row, and its scores.

    Args:
        model: who answered; empty: the row's own answer.
        answer: what was said; empty when nothing was.
        scores: of it.
        error: why there is no answer.
        filtered: the gateway's content policy blocked the question or cut the answer.
    """

    model: str
    answer: str
    scores: Scores
    error: str = ""
    filtered: bool = False


class Result(msgspec.Struct, omit_defaults=True):
    """A row that is done.

    Args:
        key: of the row.
        first: the answer.
        second: the other model's.
    """

    key: str
    first: Side
    second: Side | None = None


class Log:
    """The results of one evaluation: a file that grows by a line for each row.

    Its first line says with which options it was made.

    Args:
        folder: where the file is.
        options: of this evaluation.
        resume: go on with a file that is there.

    Attributes:
        done: results by the key of their row.

    Raises:
        Unusable: the folder can't be used; it holds a file, and ``resume`` is false; or that
            was made with other options.
    """

    def __init__(self, folder: Path, options: dict[str, Any], resume: bool) -> None:
        self.done: dict[str, Result] = {}
        path = folder / ROWS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() and not resume:
                raise Unusable(
                    f"{path} already exists: continue with --resume, or name another folder with "
                    "--out"
                )
            whole = self._read(path, options) if path.exists() else 0
            self._file: BinaryIO = path.open("ab")
            self._file.truncate(whole)
            if not whole:
                self._line(options)
        except OSError as error:
            raise Unusable(f"{path}: {error.strerror}") from None

    def add(self, result: Result) -> None:
        """Keep a result; it is on its way to the disk when this returns."""
        self.done[result.key] = result
        self._line(result)

    def close(self) -> None:
        """Write it all to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _line(self, value: Any) -> None:
        self._file.write(msgspec.json.encode(value) + b"\n")
        self._file.flush()

    def _read(self, path: Path, options: dict[str, Any]) -> int:
        """Read what is there; bytes of its whole lines. A line that was cut short is not counted:
        its row is done again."""
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        head, *lines = data[:whole].splitlines() or [b""]
        if not head:
            return 0
        try:
            made_with = msgspec.json.decode(head)
            results = [msgspec.json.decode(line, type=Result) for line in lines]
        except msgspec.DecodeError:
            raise Unusable(f"{path} is not an evaluation log") from None
        if made_with != options:
            changed = [name for name in options if made_with.get(name) != options[name]]
            raise Unusable(f"{path} was made with another {changed[0] if changed else 'set'}")
        self.done = {result.key: result for result in results}
        return whole
