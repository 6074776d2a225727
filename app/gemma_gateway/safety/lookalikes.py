"""What ``lookalikes.txt`` knows of Unicode, see ``scripts/lookalikes.py``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

_FILE = Path(__file__).with_name("lookalikes.txt")


class Characters:
    """A set of characters, kept as ranges: a few kilobytes for thousands.

    Args:
        ranges: (first, last) code points, ascending.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._ranges = tuple(ranges)
        # Where membership begins and ends, in turn.
        self._turns = [turn for low, high in self._ranges for turn in (low, high + 1)]

    def __contains__(self, c: str) -> bool:
        return bisect_right(self._turns, ord(c)) % 2 == 1

    @property
    def pattern(self) -> str:
        """The inside of a regular expression's ``[...]``."""
        return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in self._ranges)


def _ranges(words: Iterable[str]) -> Iterator[tuple[int, int]]:
    for word in words:
        low, _, high = word.partition("-")
        yield int(low, 16), int(high or low, 16)


def _read() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    name = ""
    for line in _FILE.read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            sections[name] = []
        elif line and not line.startswith("#"):
            sections[name].append(line)
    return sections


def _characters(lines: list[str]) -> Characters:
    return Characters(_ranges(" ".join(lines).split()))


def _folds(lines: list[str]) -> dict[str, str]:
    folds: dict[str, str] = {}
    for line in lines:
        fold, codes = line.split(": ")
        for low, high in _ranges(codes.split()):
            folds.update(dict.fromkeys(map(chr, range(low, high + 1)), fold.replace("SPACE", " ")))
    return folds


_SECTIONS = _read()
IGNORABLE = _characters(_SECTIONS["ignorable"])
DROPPED = _characters(_SECTIONS["dropped"])
MARKS = _characters(_SECTIONS["marks"])
BEARERS = _characters(_SECTIONS["bearers"])
LETTERS = _folds(_SECTIONS["letters"])
SECOND = _folds(_SECTIONS["second"])
