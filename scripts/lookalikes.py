"""Write ``safety/lookalikes.txt``, what the policy's fold knows of Unicode, from its tables.

``python -m scripts.lookalikes FOLDER`` reads UnicodeData.txt, Scripts.txt,
DerivedCoreProperties.txt (Unicode Character Database) and confusables.txt (Technical Standard #39)
of one version. Only what ``unicodedata`` of the oldest Python here (3.11, Unicode 14) doesn't fold
by itself is written, so run it with that one.

Sections of the file: ``ignorable`` (Default_Ignorable_Code_Point: what nobody sees), ``dropped``
(what folding drops: those, format characters, and marks that no script needs to tell words apart),
``marks`` (all others), ``bearers`` (letters of the scripts that spell with those),
``letters`` (characters that are or look like Latin letters), ``second`` (what looks like a Latin
letter and has a use of its own that a fold would break: punctuation and symbols part words,
regional indicators make flags, letters of scripts with marks or without spaces).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

# The licence of the data files, which has to stand with what is made of them.
LICENCE = """\
UNICODE LICENSE V3

COPYRIGHT AND PERMISSION NOTICE

Copyright (c) 1991-2025 Unicode, Inc.

NOTICE TO USER: Carefully read the following legal agreement. BY DOWNLOADING, INSTALLING, COPYING OR
OTHERWISE USING DATA FILES, AND/OR SOFTWARE, YOU UNEQUIVOCALLY ACCEPT, AND AGREE TO BE BOUND BY, ALL
OF THE TERMS AND CONDITIONS OF THIS AGREEMENT. IF YOU DO NOT AGREE, DO NOT DOWNLOAD, INSTALL, COPY,
DISTRIBUTE OR USE THE DATA FILES OR SOFTWARE.

Permission is hereby granted, free of charge, to any person obtaining a copy of data files and any
associated documentation (the "Data Files") or software and any associated documentation (the
"Software") to deal in the Data Files or Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, and/or sell copies of the Data Files or
Software, and to permit persons to whom the Data Files or Software are furnished to do so, provided
that either (a) this copyright and permission notice appear with all copies of the Data Files or
Software, or (b) this copyright and permission notice appear in associated Documentation.

THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT OF THIRD PARTY RIGHTS.

IN NO EVENT SHALL THE COPYRIGHT HOLDER OR HOLDERS INCLUDED IN THIS NOTICE BE LIABLE FOR ANY CLAIM,
OR ANY SPECIAL INDIRECT OR CONSEQUENTIAL DAMAGES, OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF
USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING
OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THE DATA FILES OR SOFTWARE.

Except as contained in this notice, the name of a copyright holder shall not be used in advertising
or otherwise to promote the sale, use or other dealings in these Data Files or Software without
prior written authorization of the copyright holder.
"""
TARGET = Path(__file__).parent.parent / "app" / "gemma_gateway" / "safety" / "lookalikes.txt"
WIDTH = 100
# Scripts whose marks are aids to reading: their words are written with and without them.
OPTIONAL = frozenset(
    {
        *("Inherited", "Common", "Latin", "Greek", "Cyrillic", "Coptic", "Glagolitic", "Hebrew"),
        *("Arabic", "Syriac", "Samaritan", "Mandaic", "Hangul", "Old_Permic", "Duployan"),
    }
)
KANA = (0x3099, 0x309A)  # voicing marks: Inherited, but Hiragana and Katakana are spelled with them
SPACELESS = frozenset({"Hiragana", "Katakana", "Han"})  # beside those that have marks
# Braille without dots; ε Є є (whose prototype is an open e), turned ui.
EXTRA = {0x2800: " ", 0x3B5: "e", 0x404: "e", 0x454: "e", 0xAB51: "m"}
EITHER = {"i": "l", "l": "i"}  # capital I and l look the same: the second reading has the other
# Names that end in the letter that the character is: styled, enclosed, turned, with a stroke...
_STYLED = re.compile(
    r"\b(?:LATIN|MODIFIER|REGIONAL INDICATOR SYMBOL|MATHEMATICAL|OUTLINED)\b.*\b(?:LETTER|CAPITAL"
    r"|SMALL) (?:[A-Z-]{2,} )*([A-Z])(?: WITH .+)?$"
)
_TURNED = re.compile(r"(?:TURNED|ROTATED|CIRCLED ITALIC) .*\b([A-Z])")
_SQUARED = re.compile(r"(?:NEGATIVE )?SQUARED ([A-Z]{2,4})(?: WITH EXCLAMATION MARK)?")
_SQUARES = range(0x1F100, 0x1F1AA)
_LETTERLIKE = range(0x2100, 0x2150)  # symbols that are letters in a special shape
_NAMED_I = re.compile(r"\b(?:LETTER|SMALL CAPITAL|CAPITAL) (?:DOTLESS |BYELORUSSIAN-UKRAINIAN )?"
                      r"(?:I|IOTA|YI|PALOCHKA)\b")  # fmt: skip


class Tables:
    """One version of Unicode's tables."""

    def __init__(self, folder: Path) -> None:
        self.names: dict[int, str] = {}
        self.categories: dict[int, str] = {}
        for line in _lines(folder / "UnicodeData.txt"):
            code, name, category, *_ = line.split(";")
            self.names[int(code, 16)], self.categories[int(code, 16)] = name, category
        self.scripts = {
            code: script for codes, script in _properties(folder / "Scripts.txt") for code in codes
        }
        self.ignorable = {
            code
            for codes, name in _properties(folder / "DerivedCoreProperties.txt")
            if name == "Default_Ignorable_Code_Point"
            for code in codes
        }
        self.prototypes: dict[str, str] = {}
        for line in _lines(folder / "confusables.txt"):
            source, target, *_ = line.split(";")
            self.prototypes[_text(source)] = _text(target)
        self.version = _version(folder / "confusables.txt")

    def skeleton(self, c: str) -> str:
        """TR39's skeleton of a character without its marks; ``m`` for ``rn``."""
        text = "".join(self.prototypes.get(d, d) for d in unicodedata.normalize("NFD", c))
        text = unicodedata.normalize("NFD", text)
        text = "".join(d for d in text if self.categories.get(ord(d)) not in ("Mn", "Me"))
        return "m" if text == "rn" else text


def _lines(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        if text := line.split("#")[0].strip():
            yield text


def _properties(file: Path) -> Iterator[tuple[range, str]]:
    for line in _lines(file):
        codes, name, *_ = (field.strip() for field in line.split(";"))
        low, _, high = codes.partition("..")
        yield range(int(low, 16), int(high or low, 16) + 1), name


def _text(codes: str) -> str:
    return "".join(chr(int(code, 16)) for code in codes.split())


def _version(file: Path) -> str:
    found = re.search(r"# Version: (\S+)", file.read_text(encoding="utf-8-sig"))
    return found[1] if found else "unknown"


def sections(tables: Tables) -> dict[str, list[str]]:
    """The file's sections: lines of ranges, or of a letter and its look-alikes."""
    spelled = {
        script
        for code, script in tables.scripts.items()
        if tables.categories.get(code) in ("Mn", "Mc") and script not in OPTIONAL
    } | SPACELESS
    marks = {
        code
        for code, category in tables.categories.items()
        if category in ("Mn", "Mc")
        and (code in KANA or tables.scripts.get(code) in spelled)
        and code not in tables.ignorable
    }
    dropped = tables.ignorable | {
        code
        for code, category in tables.categories.items()
        if (category[0] == "M" and code not in marks) or category == "Cf"
    }
    dropped |= set(range(0x1F3FB, 0x1F400))  # emoji modifiers
    letters, second = _lookalikes(tables, dropped, spelled)
    bearers = {
        code
        for code, script in tables.scripts.items()
        if script in spelled and script != "Han" and tables.categories.get(code, "Cn")[0] == "L"
    }
    return {
        "ignorable": _wrap(_ranges(tables.ignorable)),
        "dropped": _wrap(_ranges(dropped)),
        "marks": _wrap(_ranges(marks)),
        "bearers": _wrap(_ranges(bearers)),
        "letters": _listed(letters),
        "second": _listed(second),
    }


def _lookalikes(
    tables: Tables, dropped: set[int], spelled: set[str]
) -> tuple[dict[int, str], dict[int, str]]:
    """Fold by character: that of the one reading, and that of the second only."""
    letters: dict[int, str] = dict(EXTRA)
    second: dict[int, str] = {}
    for code, category in tables.categories.items():
        plain = _plain(chr(code), dropped)
        if code < 128 or code in dropped or category[0] in "MCZ" or _ascii(plain):
            continue
        named = _named(tables.names[code], code)
        if not (wanted := _wanted(tables, code, named)) or plain == wanted:
            continue
        symbol = category[0] in "PS" and len(named) != 1 and code not in _LETTERLIKE
        flag = tables.names[code].startswith("REGIONAL")
        both = (symbol and wanted not in "-'") or flag or tables.scripts.get(code) in spelled
        (second if both else letters)[code] = wanted
        if both:
            continue
        if tables.skeleton(chr(code)) == "l" and _NAMED_I.search(tables.names[code]):
            second[code] = EITHER[wanted]
        elif named not in ("", wanted):
            second[code] = named
    for code in list(letters):  # what follows from others
        parts = unicodedata.normalize("NFKD", chr(code))
        if parts != chr(code):
            wanted = letters.pop(code)
            folds = [letters.get(ord(d), d) for d in parts if ord(d) not in dropped]
            if "".join(folds).casefold() != wanted:
                letters[code] = wanted
    return letters, second


def _named(name: str, code: int) -> str:
    if found := _STYLED.search(name):
        return found[1].lower()
    if found := _TURNED.fullmatch(name):
        return found[1].lower()
    found = _SQUARED.fullmatch(name) if code in _SQUARES else None
    return found[1].lower() if found else ""


def _wanted(tables: Tables, code: int, named: str) -> str:
    name, skeleton = tables.names[code], tables.skeleton(chr(code))
    if skeleton == "l" and _NAMED_I.search(name) and "PALOCHKA" not in name:
        return "i"
    if skeleton.isascii() and skeleton.isalpha():
        return skeleton.lower()
    if skeleton in ("-", "'") and (tables.categories[code][0] in "PS" or code == 0x2BC):
        return skeleton
    return named


def _plain(c: str, dropped: set[int]) -> str:
    """What compatibility forms, case and marks alone fold a character to."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", c).casefold())
    return "".join(d for d in text if ord(d) not in dropped)


def _ascii(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _ranges(codes: set[int]) -> Iterator[str]:
    ordered = sorted(codes)
    start = None
    for place, code in enumerate(ordered):
        start = code if start is None else start
        if place + 1 == len(ordered) or ordered[place + 1] != code + 1:
            yield f"{start:X}" if start == code else f"{start:X}-{code:X}"
            start = None


def _listed(folds: dict[int, str]) -> list[str]:
    by_fold: dict[str, set[int]] = {}
    for code, fold in folds.items():
        by_fold.setdefault(fold, set()).add(code)
    return [
        line
        for fold, codes in sorted(by_fold.items())
        for line in _wrap(_ranges(codes), f"{'SPACE' if fold == ' ' else fold}: ")
    ]


def _wrap(words: Iterable[str], head: str = "") -> list[str]:
    lines: list[str] = []
    line = head
    for word in words:
        if len(line) + len(word) >= WIDTH:
            lines.append(line.rstrip())
            line = head
        line += word + " "
    return [*lines, line.rstrip()]


def main() -> int:
    """Write the file; 2 where no folder is named."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m scripts.lookalikes FOLDER\n")
        return 2
    tables = Tables(Path(sys.argv[1]))
    head = f"""\
Made by scripts/lookalikes.py from UnicodeData.txt, Scripts.txt, DerivedCoreProperties.txt and
confusables.txt of Unicode {tables.version}. Code points in hexadecimal.

{LICENCE}"""
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    for name, found in sections(tables).items():
        lines += ["", f"[{name}]", *found]
    TARGET.write_text("\n".join(lines) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
