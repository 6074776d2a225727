"""The documents' links lead somewhere, and the indexes are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gemma_gateway.validation.fields import INTERNALS
from tests.process import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *ROOT.glob("*.md"),
    *DOCS.rglob("*.md"),
    *ROOT.glob("deploy/**/*.md"),
    *ROOT.glob("helm/**/*.md"),
]


def links(page: Path) -> set[str]:
    """Files that a page's links name, as it writes them."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    return {link for link in found if "://" not in link}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    assert not [link for link in links(page) if not (page.parent / link).exists()]


@pytest.mark.parametrize("folder", [DOCS, DOCS / "adr"], ids=lambda p: p.name)
def test_the_index_lists_every_page(folder: Path) -> None:
    assert {p.name for p in folder.glob("*.md")} - {"README.md"} <= links(folder / "README.md")


def test_paths_in_the_recipes_exist() -> None:
    """CONTRIBUTING.md names modules from the package's root, all else from the repository's."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    paths = re.findall(r"`([a-z_]+(?:/[\w.]+)+/?)`", text)
    roots = (ROOT, ROOT / "app" / "gemma_gateway")
    assert len(paths) > 20
    assert not [path for path in paths if not any((root / path).exists() for root in roots)]


def test_what_is_refused_is_listed() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    section = text.split("## What engines take and this gateway refuses")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == INTERNALS
