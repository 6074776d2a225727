"""Text as the policy reads it: one fold for terms and for what is judged.

``FOLDS[c]`` is the fold of one character, and the fold of a text is the fold of its characters in
a row, so cutting a text anywhere changes nothing. Folding takes case, compatibility forms, accents
on Latin letters, invisible characters and look-alike letters away. ``unescape`` gives the second
reading of a text with backslashes: what it says once a JSON or JavaScript reader has decoded it.

Sources: Unicode NFKD and full case folding (``unicodedata``, ``str.casefold``); Unicode Standard
Annex #44 (Default_Ignorable_Code_Point); Technical Standard #39, confusables.txt (letters of
alphabetic scripts whose skeleton is one ASCII letter, accents aside); Annex #29 (word boundaries);
RFC 8259 section 7 (escapes).
"""

from __future__ import annotations

import re
import unicodedata

CACHED = 1 << 15  # characters remembered; far more than one call's text uses
REPLACEMENT = "\ufffd"

_LOOKALIKES = {
    "a": "ɑΑαАаᎪᴀꓮ𐊠🅐🅰",
    "b": "ƀƂƃƄɓʙΒБВЬѢѣҌҍᏏᏴꓐꞴ𐊂𐊡𐌁🅑🅱",
    "c": "ȼΣςСсҪҫᏟᴄⲤⲥꓚꮯ𐊢𐌂𐐕𐐽𐔜🅒🅲",
    "d": "ĐđƉƌƊɖɗԁᎠᏧᴅꓒꓓ🅓🅳",
    "e": "ɆɇɛΕεЕеЄєҽҿᎬᴇꓰꬲ𐊆𑢦𑢮🅔🅴",
    "f": "ƑƒϜքᵮẝꜰꓝꞘꞙꬵ𐊇𐊥𐔥𑢢𑣂🅕🅵",
    "g": "ƍǤǥɠɡɢԌցᏀᏳᶃꓖ🅖🅶",
    "h": "ĦħɦʜΗНћҢһӇӉհᎻᏂᏲⱧⲎꓧꚕ𐋏🅗🅷",
    "i": "ıƖɨɩɪΙιІіӀӏᎥᵻᵼꙇꭵ𑣃🅘🅸",
    "j": "ɈɉͿϳЈјᎫᴊꓙꞲ🅙🅹",
    "k": "ƙΚКҚҞᏦᴋⱩⲔꓗꝀ𐔘🅚🅺",
    "l": "ŁłƗƚɫɭʟᏞⲒⳐꓡꓲ𐊊𐌉𐐛𐔦𑢣𑢲🅛🅻",
    "m": "ΜϺМӍᎷᴍⲘꓟꭑ𐊰𐌑🅜🅼",
    "n": "ƝƞɲɳɴΝηոռᵰⲚꓠ𐔓🅝🅽",
    "o": "ØøƟɵΘΟθοσОоѲѳӨөՕօᎾᏫᴏᴑⲞⲟꓳꝊꝋꬽꬾꭴꮎꮻ𐊒𐊫𐐄𐐬𐓂𐓪𐔖𑢵𑣈𑣗🅞🅾",
    "p": "ƥΡρРрᏢᴘᵽⲢⲣꓑ𐊕🅟🅿",
    "q": "ʠԛգզ🅠🆀",
    "r": "ƦɍɼɽгғʀᎡᏒᴦᵲⲅꓣꭇꭈꮁ𐒴🅡🆁",
    "s": "ƽʂЅѕՏᏕᏚᵴꓢꜱꮪ𐊖𐐠𐑈𑣁🅢🆂",
    "t": "ŦŧƫƭƮȾΤТҬᎢᴛᵵⲦꓔ𐊗𐊱𐌕𑢼🅣🆃",
    "u": "ɄʋυՍսᏌᴜᵾꓴꞟꭎꭒꮜ𐓎𐓶𑢸𑣘🅤🆄",
    "v": "νѴѵᏙᴠꓦꮩ𐔝𑢠𑣀🅥🆅",
    "w": "ɯѡԜԝաᎳᏔᴡꓪꝡꮃ🅦🆆",
    "x": "ΧХхҲⲬꓫꞳ𐊐𐊴𐌗𐔧🅧🆇",
    "y": "ƴɎɏɣʏΥγУуҮүҰұᎩᎽᶌỿⲨꓬꭚ𐊲𑢤𑣜🅨🆈",
    "z": "ƵƶȤȥʐΖᏃᴢᵶꓜꮓ𑢩𑣄🅩🆉",
    "-": "‐‒–﹘−",
    "'": "‘’ʼ′",
    " ": "⠀",
}
_LATIN = {ord(shape): letter for letter, shapes in _LOOKALIKES.items() for shape in shapes}

# Default-ignorable characters that are not of category Cf, and the accents of Latin letters.
_DROPPED = (
    (0x0300, 0x036F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0x2065, 0x2065),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0xE0000, 0xE0FFF),
)
# Scripts written without spaces between words: Thai and Lao, Myanmar, Khmer, Han and Kana.
_SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x19E0, 0x19FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)


def _within(c: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(c)
    return any(low <= code <= high for low, high in ranges)


def _letter(c: str) -> str:
    """One decomposed character, its case still on."""
    if c.isspace():
        return " "
    category = unicodedata.category(c)
    if category in ("Cf", "Cc") or _within(c, _DROPPED):
        return ""
    if category == "Cs":
        return REPLACEMENT
    return _LATIN.get(ord(c), c)


class _Folds(dict[str, str]):
    """Character to its fold: nothing, one character or a few. Filled as characters turn up."""

    def __missing__(self, c: str) -> str:
        first = (_letter(d) for d in unicodedata.normalize("NFKD", c))
        lower = unicodedata.normalize("NFKD", "".join(first).casefold())
        if len(self) >= CACHED:
            self.clear()
        folded = self[c] = "".join(map(_letter, lower))
        return folded


class _Joins(dict[str, int]):
    """Folded character to how it joins its neighbours into a word.

    0: not at all; 1: with another 1 (letters and numbers); 2: with whatever stands before it (a
    mark belongs to its base, UAX #29 rule WB4). Connector punctuation is 0: ``hate_speech`` holds
    the word hate. Scripts without spaces are 0: there any place may be a boundary.
    """

    def __missing__(self, c: str) -> int:
        kind = 0
        if unicodedata.category(c)[0] == "M":
            kind = 2
        elif c.isalnum() or unicodedata.category(c)[0] in "LN":
            kind = 0 if _within(c, _SPACELESS) else 1
        if len(self) >= CACHED:
            self.clear()
        self[c] = kind
        return kind


FOLDS = _Folds()
JOINS = _Joins()

_ASCII = bytes(ord(FOLDS[chr(i)] or "\0") if i < 128 else 0 for i in range(256))
_ASCII_DROPPED = bytes(i for i in range(128) if not FOLDS[chr(i)])


def fold(text: str) -> str:
    """The folded text, runs of white space as one space.

    Time is linear: about 1 ns a character, 20 ns outside ASCII.
    """
    if text.isascii():
        folded = text.encode().translate(_ASCII, _ASCII_DROPPED).decode()
    else:
        folded = "".join(map(FOLDS.__getitem__, text))
    return " ".join(folded.split()) if "  " in folded else folded


SIMPLE = {"n": " ", "r": " ", "t": " ", "b": " ", "f": " ", '"': '"', "/": "/"}
_HIGH, _LOW, _HEX = "[dD][89abAB][0-9a-fA-F]{2}", "[dD][c-fC-F][0-9a-fA-F]{2}", "[0-9a-fA-F]{4}"
# A run of backslashes reads as one: JSON within JSON doubles them.
_ESCAPE = re.compile(rf'\\++(?:u({_HIGH})\\++u({_LOW})|u({_HEX})|([bfnrt"/]))?')


def _decode(found: re.Match[str]) -> str:
    high, low, single, simple = found.groups()
    if simple:
        return SIMPLE[simple]
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if single:
        c = chr(int(single, 16))
        return REPLACEMENT if "\ud800" <= c <= "\udfff" else c
    return "\\"


def unescape(text: str) -> str:
    """The text with its JSON escapes decoded; linear time.

    ``\\uXXXX`` (two of them where they are a surrogate pair), ``\\n \\r \\t \\b \\f`` as white
    space, ``\\" \\/``. Any other run of backslashes is one backslash.
    """
    return _ESCAPE.sub(_decode, text)
