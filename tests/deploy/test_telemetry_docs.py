"""docs/telemetry.md names every metric, with its labels, and no other."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import orjson

from tests.deploy.names import ROOT, gateway_names
from tests.deploy.test_rules import scraped
from tests.process import AUTH, Gateway

TEXT = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `(gateway_\w+)` \| ([\w, ]*?) ?\|", TEXT, re.M))
PART = re.compile(r"_(bucket|count|sum)$")


def test_every_metric_is_explained(tmp_path: Path) -> None:
    assert set(ROWS) == {PART.sub("", name) for name in gateway_names(tmp_path)}


def test_labels_are_those_of_a_page(gateway: Gateway) -> None:
    for stream in (True, False):
        asked = {"stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
        request = urllib.request.Request(
            gateway.url + "/v1/chat/completions",
            orjson.dumps(asked),
            AUTH | {"content-type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).read()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(
        r"^(gateway_\w+)(?:\{(.*)\})? ", scraped(gateway).decode(), re.M
    ):
        of = re.findall(r'(?:^|,)(\w+)="', labels)
        found.setdefault(PART.sub("", name), set()).update({*of} - {"le"})
    told = {name: set(filter(None, labels.split(", "))) for name, labels in ROWS.items()}
    assert len(found) > 20
    assert {n: labels for n, labels in found.items() if not n.endswith("_created")} == {
        name: told[name] for name in found if not name.endswith("_created")
    }
