"""The policy file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_gateway.safety.policy import Category, ConfigError, Match, Policy
from tests.growth import is_linear


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_default_is_the_four_terms() -> None:
    policy = Policy.load()
    for term in ("violence", "hate", "illegal", "harmful"):
        assert policy.find(f"some {term.upper()}.") == Match("harm", term)
    assert policy.find("whatever, violently, illegally, harm") is None
    assert not policy.flagging


def test_categories_of_a_file(tmp_path: Path) -> None:
    policy = Policy.load(
        write(
            tmp_path,
            """
categories:
  - name: drugs
    match: substring
    terms: [meth]
  - name: sport
    action: flag
    terms: [football, "hockey"]
""",
        )
    )
    assert policy.find("methodical") == Match("drugs", "meth")
    assert policy.find("football") is None
    assert policy.flags("Football and methods") == {"sport"}
    assert policy.flags("footballer") == set()
    assert policy.scanner().push("football ") == "football "


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("categories:\n  - name: a\n    terms: []\n", 3, "categories.0.terms"),
        ("categories:\n  - name: A b\n    terms: [x]\n", 2, "categories.0.name"),
        ("categories:\n  - name: a\n    terms: [x]\n    mode: y\n", 4, "categories.0.mode"),
        (
            "categories:\n  - name: a\n    terms:\n      - x\n      - '\u200b'\n",
            3,
            "nothing of this",
        ),
        ("categories:\n  - name: a\n    action: kill\n    terms: [x]\n", 3, "'block' or 'flag'"),
        ("categories:\n  - name: a\n    terms: [1]\n", 3, "categories.0.terms.0"),
        ("categories:\n - name: a\n   terms: [%s]\n" % ("x" * 201), 3, "longer than 200"),
        ("a: [\n", 2, ""),
        ("[]\n", 1, "the file"),
        ("", 1, "the file"),
    ],
)
def test_faults_are_named_by_file_line_and_field(
    tmp_path: Path, text: str, line: int, why: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Policy.load(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert why in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Policy.load(tmp_path / "none.yaml")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Policy.load(tmp_path / "latin")


def test_many_terms_are_still_fast() -> None:
    words = tuple(f"term{number:x}zz" for number in range(20_000))
    assert is_linear(lambda size: Policy((Category(name="many", terms=words[:size]),)), 400)
    policy = Policy((Category(name="many", terms=words),))
    assert is_linear(lambda size: policy.find("a clean text " * size), 100)
    assert policy.find("a clean text " * 100) is None
    assert policy.find(f"a {words[-1]}.") is not None


def test_too_many_terms(tmp_path: Path) -> None:
    half = "  - name: {}\n    terms: [{}]\n"
    terms = ",".join(["x"] * 60_000)
    file = write(tmp_path, "categories:\n" + half.format("a", terms) + half.format("b", terms))
    with pytest.raises(ConfigError, match="more than 100000 terms"):
        Policy.load(file)
