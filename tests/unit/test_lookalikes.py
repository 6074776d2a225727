"""What hides a term and what doesn't: every code point, class by class.

Each class says which characters it holds, that a term is found through every one of them, and which
it is not, by name. Beside the table that the fold uses stand other sources: ``unicodedata``, and
the ``confusable-homoglyphs`` package for Technical Standard #39.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

import pytest
from confusable_homoglyphs.confusables import confusables_data

from gemma_gateway.safety.fold import DOUBLE, FOLDS, fold
from gemma_gateway.safety.lookalikes import LETTERS
from gemma_gateway.safety.policy import Category, Policy

EVERY = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
HATE = Policy((Category(name="x", terms=("hate",)),))
# UAX #44, Default_Ignorable_Code_Point, what isn't of category Cf.
IGNORABLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2065\u3164\ufe00-\ufe0f\uffa0"
    "\ufff0-\ufff8\U000e0000-\U000e0fff"
)


@cache
def policy(term: str) -> Policy:
    return Policy((Category(name="x", terms=(term,)),))


def found(judge: Policy, text: str) -> bool:
    """Whether a text matches, whole and as a stream; both say the same."""
    scanner = judge.scanner()
    for c in text:
        scanner.push(c)
    scanner.close()
    match = judge.find(text)
    assert match == scanner.match, ascii(text)
    return match is not None


def names(characters: Iterable[str]) -> set[str]:
    return {unicodedata.name(c, f"U+{ord(c):04X}") for c in characters}


def hiding(characters: Iterable[str], text: str, judge: Policy = HATE) -> set[str]:
    """Names of the characters that hide the term when put into ``text`` for ``@``."""
    return names(c for c in characters if not found(judge, text.replace("@", c)))


@pytest.mark.parametrize("text", ["ha@te", "h@a@t@e@", "@hate", "hate@ ", "ha@@te it"])
def test_no_mark_hides_a_latin_term(text: str) -> None:
    marks = [c for c in EVERY if unicodedata.category(c) in ("Mn", "Me", "Mc")]
    assert len(marks) > 2400
    assert hiding(marks, text) == set()


@pytest.mark.parametrize(
    ("term", "text"),
    [
        *(("нет", "не@т"), ("μίσος", "μί@σος"), ("שנאה", "שנ@אה"), ("كره", "كر@ه")),
        ("ատելություն", "ատել@ություն"),
    ],
)
def test_no_mark_hides_a_term_of_another_script_without_marks(term: str, text: str) -> None:
    marks = [c for c in EVERY if unicodedata.category(c) in ("Mn", "Me", "Mc")]
    assert hiding(marks, text, policy(term)) == set()


def test_nothing_invisible_hides_a_term() -> None:
    ignorable = re.compile(f"[{IGNORABLE}]")
    invisible = [c for c in EVERY if unicodedata.category(c) in ("Cf", "Cc") or ignorable.match(c)]
    assert len(invisible) > 4250
    spaces = {c for c in invisible if c.isspace()}
    assert hiding(invisible, "ha@te") == names(spaces)
    bidi = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert hiding(bidi, "h@a@t@e") == set()


def test_no_emoji_modifier_hides_a_term() -> None:
    assert hiding(map(chr, range(0x1F3FB, 0x1F400)), "ha@te") == set()


def skeletons() -> dict[str, set[str]]:
    """Characters by the ASCII letters that their TR39 prototype is, accents aside."""
    classes: dict[str, set[str]] = {}
    for prototype, others in confusables_data.items():
        plain = "".join(
            c
            for c in unicodedata.normalize("NFD", prototype)
            if unicodedata.category(c) not in ("Mn", "Me")
        )
        if plain.isascii() and plain.isalpha():
            letter = "m" if plain == "rn" else plain.lower()
            singles = {other["c"] for other in others if len(other["c"]) == 1}
            classes.setdefault(letter, set()).update(c for c in singles if not c.isascii())
    return classes


# What has ASCII letters for a skeleton and isn't read as those: marks of Indic scripts (dropped
# from Latin words, like all marks). Nor are characters that are ASCII by their compatibility form,
# such as 𝟏 (1, not l) and Ｉ (i, not l): they are what they are. A word in which one look-alike
# of I stands for i and one for l (kӏӏl) is found in neither reading.
SKELETON_EXCEPTIONS = {
    "o": {
        "KANNADA SIGN ANUSVARA",
        "MALAYALAM SIGN ANUSVARA",
        "SINHALA SIGN ANUSVARAYA",
        "TELUGU SIGN ANUSVARA",
    }
}


def plain(c: str) -> str:
    """A character's compatibility form, its case and marks taken away."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", c).casefold())
    return "".join(d for d in text if unicodedata.category(d)[0] != "M")


def test_what_looks_like_latin_letters_is_read_as_such() -> None:
    classes = skeletons()
    assert sum(map(len, classes.values())) > 1500
    missing = {
        letters: lost
        for letters, characters in sorted(classes.items())
        if (
            lost := hiding(
                (c for c in characters if not (plain(c).isascii() and plain(c).isalnum())),
                "kq@qk",
                policy(f"kq{letters}qk"),
            )
        )
    }
    assert missing == SKELETON_EXCEPTIONS


STYLED = re.compile(
    r"(?!COMBINING)(?:[A-Z -]+ )?LATIN (?:[A-Z]+ )*LETTER (?:SMALL CAPITAL )?([A-Z])(?: WITH .+)?"
    r"|(?:PARENTHESIZED|CIRCLED|SQUARED|NEGATIVE CIRCLED|NEGATIVE SQUARED|CROSSED NEGATIVE SQUARED"
    r"|TORTOISE SHELL BRACKETED|FULLWIDTH|TAG) LATIN (?:SMALL|CAPITAL) LETTER ([A-Z])"
    r"|MODIFIER LETTER (?:SMALL|CAPITAL) ([A-Z])"
    r"|REGIONAL INDICATOR SYMBOL LETTER ([A-Z])"
    r"|MATHEMATICAL [A-Z -]+ (?:SMALL|CAPITAL) ([A-Z])"
)


def test_what_its_name_calls_a_latin_letter_is_one() -> None:
    lost: set[str] = set()
    count = 0
    for c in EVERY:
        match = STYLED.fullmatch(unicodedata.name(c, ""))
        if match is None or c.isascii() or len(plain(c)) == 2:  # ǈ is lj
            continue
        count += 1
        letter = next(filter(None, match.groups())).lower()
        if not found(policy(f"kq{letter}qk"), f"kq{c}qk"):
            lost.add(unicodedata.name(c))
    assert count > 1750
    assert lost == set()


def test_compatibility_forms_and_case_fold_to_their_letter() -> None:
    for c in EVERY:
        letter = plain(c)
        if letter.isascii() and letter.isalpha():
            assert fold(c) == letter, unicodedata.name(c)


@pytest.mark.parametrize("text", ["\U000e0068\U000e0061\U000e0074\U000e0065", "🇭🇦🇹🇪", "h🇦te"])
def test_letters_in_tags_and_flags_are_read(text: str) -> None:
    assert found(HATE, f"so {text} it")


def test_what_has_a_use_of_its_own_still_parts_words() -> None:
    """Flags, signs and letters of scripts without spaces stand beside a word and don't join it."""
    signs = {c for c in DOUBLE if fold(c) == c and unicodedata.category(c)[0] in "SP"}
    assert len(signs) > 80
    assert hiding(signs, "@hate@ ") == set()
    assert found(HATE, "I hate🇩🇪🇫🇷, I hate×love|x")


TERMS = (
    *("hate", "kill", "bomb", "rape", "whore", "cop", "pot", "sex", "ass", "cock", "porn", "nazi"),
    *("terror", "attack", "violence", "die", "gun", "coke", "meth", "hell", "damn", "suicide"),
)
ORDINARY = {
    "Russian": "нет это хорошо когда мама мыла раму а кот сосёт молоко у окна пора спать рота роса"
    " ухо соха осока река роща сахар хор укор ропот тоска космос метро театр нота тон ток рост",
    "Ukrainian": "її їжак їсть яблука і ніхто не каже йому що він малий",
    "Greek": "και το μικρό παιδί πήγε στο σχολείο με τον πατέρα του όμως δεν ήθελε να μείνει εκεί"
    " ΚΑΙ ΤΟ ΜΙΚΡΟ ΠΑΙΔΙ ΠΗΓΕ ΣΤΟ ΣΧΟΛΕΙΟ",
    "Coptic": "ϩⲛ ⲧⲉϩⲟⲩⲉⲓⲧⲉ ⲛⲉϥϣⲟⲟⲡ ⲛϭⲓ ⲡϣⲁϫⲉ ⲁⲩⲱ ⲡϣⲁϫⲉ ⲛⲉϥϣⲟⲟⲡ ⲛⲛⲁϩⲣⲙ ⲡⲛⲟⲩⲧⲉ",
    "Hebrew": "בראשית ברא אלהים את השמים ואת הארץ סוס ססגוני",
    "Arabic": "في البداية خلق الله السماوات والأرض هذا هو ما أراه أهله",
    "Armenian": "բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი",
    "Hindi": "सभी मनुष्य जन्म से स्वतंत्र हैं और मेरी बिल्ली मेरे घर में है",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน ไม่ใช่ไม้",
    "Myanmar": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် မွေးဖွားလာသူများ ဖြစ်သည်",
    "Malayalam": "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടെ സ്വതന്ത്രരായി ജനിച്ചവരാണ് കടൽ പാട്ട്",
    "Cherokee": "ᎾᏂᎥ ᏴᏫ ᎨᏥᏍᎦᎸᏛ ᎾᏍᎩ ᎤᎾᏕᎿᎥᎢ",
    "Japanese": "すべての人間は、生まれながらにして自由である。か゛がカガ",
    "Korean": "모든 인간은 태어날 때부터 자유로우며",
    "Turkish": "ılık su içtim, İstanbul'da ığdır",
    "Icelandic": "það er þoka í dag og ég þarf að fara",
    "Akan": "nnipa nyinaa yɛ pɛ na wɔde adwene ne ahonim na abɔ obiara",
}


@pytest.mark.parametrize("language", ORDINARY)
def test_ordinary_words_are_no_english_terms(language: str) -> None:
    judge = Policy((Category(name="x", terms=TERMS),))
    assert not found(judge, ORDINARY[language])


@pytest.mark.parametrize("language", ORDINARY)
def test_terms_of_every_script_match_their_own_words(language: str) -> None:
    text = ORDINARY[language]
    for word in text.split():
        term = word.strip("、。,")
        assert found(policy(term), f"x {text} x"), term
        assert found(policy(term), f"x {text.upper()} x"), term


@pytest.mark.parametrize(
    ("term", "text"),
    [
        *(("मार", "मेरा"), ("ไม่", "ไม้"), ("か", "が"), ("ດີ", "ດີ້"), ("ண", "ணு"), ("क", "क़")),
        *(("ނާ", "ނި"), ("မ", "မိ")),
    ],
)
def test_marks_that_spell_tell_words_apart(term: str, text: str) -> None:
    assert not found(policy(term), text)
    assert found(policy(term), term)
    assert found(policy(text), text)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("שלום", "שָׁלוֹם"),
        *(("سلام", "سَلَامٌ"), ("حب", "حُبّ"), ("злой", "зло́й"), ("μίσος", "ΜΙΣΟΣ")),
        *(("οδός", "ΟΔΌΣ"), ("kill", "kiӏӏ"), ("kill", "kΙll"), ("kill", "kӀll"), ("cоӏd", "cold")),
    ],
)
def test_marks_that_help_to_read_and_case_do_not(term: str, text: str) -> None:
    assert found(policy(term), text) or term == text


def test_the_tables_are_small() -> None:
    assert len(LETTERS) + len(DOUBLE) < 2500
    assert max(map(len, LETTERS.values())) <= 3
    assert len(FOLDS["a"]) == 1
